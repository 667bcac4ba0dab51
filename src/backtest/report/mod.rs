//! One self-contained page about a back-test: no file beside it, no network, no script needed to read it.

mod chart;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Outcome;
use super::compare::Comparison;
use super::events::{Event, EventScore};
use super::summary::{Episode, RunSummary, Summary, episodes};
use crate::config::Condition;
use crate::detect::evidence::EvidenceItem;
use crate::detect::life::Transition;
use crate::news::{EventTime, Subject};
use chart::{Lane, Series, format_time};

/// A page with more alerts than this is read by nobody; `alerts.jsonl` has them all.
const MOST_ALERTS: usize = 150;
const MOST_LANES: usize = 40;
const MOST_QUIET: usize = 12;

/// Text for an element or a quoted attribute.
fn escape(text: &str) -> String {
    html_escape::encode_quoted_attribute(text).into_owned()
}

/// The page.
pub fn html(summary: &Summary, run: &Outcome, against: Option<&Outcome>, events: &[Event]) -> String {
    let page = Page {
        summary,
        run,
        against,
        events,
        episodes: (1..).zip(episodes(&run.alerts)).collect(),
        against_episodes: against.map(|against| episodes(&against.alerts)).unwrap_or_default(),
    };
    page.html()
}

struct Page<'run> {
    summary: &'run Summary,
    run: &'run Outcome,
    against: Option<&'run Outcome>,
    events: &'run [Event],
    /// Numbered from 1.
    episodes: Vec<(usize, Episode)>,
    against_episodes: Vec<Episode>,
}

impl Page<'_> {
    fn html(&self) -> String {
        let mut out = String::with_capacity(1 << 20);
        let title =
            format!("Bellwether back-test, {} to {}", format_time(self.run.first, "%-d %b %Y"), format_time(self.run.last, "%-d %b %Y"));
        let _ = write!(
            out,
            "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n<meta name='viewport' content='width=device-width, initial-scale=1'>\n\
             <meta name='color-scheme' content='light dark'>\n\
             <meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
             <meta name='referrer' content='no-referrer'>\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n",
            escape(&title),
            include_str!("report.css")
        );
        self.masthead(&mut out);
        out.push_str("<main>");
        self.figures(&mut out);
        self.overview(&mut out);
        if let Some(comparison) = &self.summary.comparison {
            self.comparison(comparison, &mut out);
        }
        if let Some(score) = &self.summary.run.events {
            self.event_table(score, &mut out);
        }
        self.rules(&mut out);
        self.subjects(&mut out);
        self.quiet_subjects(&mut out);
        self.data(&mut out);
        self.configuration(&mut out);
        out.push_str("</main>");
        let _ = write!(
            out,
            "<footer><p>Bellwether {}. Times are UTC. The index runs from −1 (negative) to +1 (positive). alerts.jsonl, windows.parquet and summary.json beside \
             this page have all of it as data.</p></footer>\n<script>{}</script>\n</body>\n</html>\n",
            self.summary.bellwether,
            include_str!("report.js")
        );
        out
    }

    fn masthead(&self, out: &mut String) {
        let model = |run: &RunSummary| match &run.model {
            Some(model) => format!("{} {}", escape(&model.name), escape(&model.version)),
            None => "scored in the files".to_owned(),
        };
        let run = &self.summary.run;
        let against = self.summary.against.as_ref().map_or_else(String::new, |against| {
            format!("<div><dt>Against</dt><dd>{} <small>{}</small></dd></div>", escape(&against.name), against.config_version)
        });
        let _ = write!(
            out,
            "<header class='top'><h1><svg viewBox='0 0 16 16' width='22' height='22' aria-hidden='true'><path d='M1 7.5h3.5l2-4 3 9 2-5H15'/></svg>Bellwether <span>back-test</span></h1>\
             <p class='period'>{} <span>to</span> {}</p>\
             <dl><div><dt>Configuration</dt><dd>{} <small>{}</small></dd></div>{against}<div><dt>Model</dt><dd>{}</dd></div><div><dt>Files</dt><dd>{}</dd></div></dl></header>",
            format_time(self.run.first, "%-d %B %Y, %H:%M"),
            format_time(self.run.last, "%-d %B %Y, %H:%M"),
            escape(&run.name),
            run.config_version,
            model(run),
            escape(&self.summary.files.join(", ")),
        );
    }

    fn figures(&self, out: &mut String) {
        let run = &self.summary.run;
        let alerts = &run.alerts;
        let busiest = alerts.by_day.iter().max_by(|one, two| one.1.cmp(two.1).then(two.0.cmp(one.0)));
        let mut figures = vec![
            ("Alerts", whole(alerts.fired), format!("{} critical, on {}", alerts.critical, plural(alerts.subjects_alerted, "subject"))),
            (
                "Alerts a day",
                format!("{:.2}", alerts.alerts_per_day),
                busiest.map_or_else(|| "none on any day".into(), |(day, count)| format!("most on {day}: {count}")),
            ),
            (
                "Per subject and month",
                rate(alerts.alerts_per_subject_month),
                format!("{} watched, {:.1} subject-months", plural(self.run.watched().len(), "subject"), run.subject_months),
            ),
            (
                "Items",
                whole(run.items.counted as usize),
                format!("in {:.1} days; {} read", self.summary.days, whole(run.items.read as usize)),
            ),
        ];
        if let Some(score) = &run.events {
            figures.push(("Events found", format!("{} of {}", score.events_found, score.events), delay_text(score)));
            figures.push((
                "True alerts",
                format!("{} of {}", score.true_alerts, score.alerts),
                score.precision.map_or_else(|| "no alert".into(), |precision| format!("precision {:.0}%", precision * 100.0)),
            ));
        }
        out.push_str("<dl class='figures'>");
        for (name, value, note) in figures {
            let _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd><dd class='note'>{note}</dd></div>");
        }
        out.push_str("</dl>");
    }

    /// Subjects with alerts, by their first; those of the other configuration alone, too.
    fn alerted(&self) -> Vec<(&Subject, &str)> {
        let mut first: BTreeMap<&Subject, (EventTime, &str)> = BTreeMap::new();
        let own = self.episodes.iter().map(|(_, episode)| episode);
        for episode in own.chain(&self.against_episodes) {
            let entry = first.entry(&episode.subject).or_insert((episode.fired_at, &episode.subject_name));
            entry.0 = entry.0.min(episode.fired_at);
        }
        let mut subjects: Vec<_> = first.into_iter().collect();
        subjects.sort_by_key(|(subject, (at, _))| (*at, *subject));
        subjects.into_iter().map(|(subject, (_, name))| (subject, name)).collect()
    }

    fn of(&self, subject: &Subject) -> Vec<(usize, &Episode)> {
        self.episodes.iter().filter(|(_, episode)| episode.subject == *subject).map(|(number, episode)| (*number, episode)).collect()
    }

    fn events_of(&self, subject: &Subject) -> Vec<&Event> {
        self.events.iter().filter(|event| event.subject == *subject).collect()
    }

    fn end(&self) -> EventTime {
        self.against.map_or(self.run.end, |against| against.end.max(self.run.end))
    }

    fn series(&self, outcome: &Outcome, subject: &Subject) -> Series {
        Series::of(&outcome.panes, subject, self.run.first, self.end().plus(1), &outcome.setup.config.window)
    }

    fn overview(&self, out: &mut String) {
        let alerted = self.alerted();
        let mut lanes: Vec<Lane<'_>> = alerted
            .iter()
            .map(|(subject, name)| Lane {
                name: (*name).to_owned(),
                link: anchor(subject),
                episodes: self.of(subject),
                against: self.against_episodes.iter().filter(|episode| episode.subject == **subject).collect(),
                events: self.events_of(subject),
            })
            .collect();
        // An event that nobody found has a lane, too.
        for event in self.events.iter().filter(|event| !alerted.iter().any(|(subject, _)| **subject == event.subject)) {
            if !lanes.iter().any(|lane| lane.link == anchor(&event.subject)) {
                let name = self.run.setup.watchlist.name_of(&event.subject);
                let events = self.events_of(&event.subject);
                lanes.push(Lane { name, link: anchor(&event.subject), episodes: Vec::new(), against: Vec::new(), events });
            }
        }
        let left_out = lanes.len().saturating_sub(MOST_LANES);
        lanes.truncate(MOST_LANES);
        let compared = self.against.is_some();
        out.push_str("<section class='panel' id='timeline'><h2>Timeline</h2>");
        if lanes.is_empty() {
            out.push_str("<p class='quiet'>No alert fired.</p>");
        }
        out.push_str(&chart::overview(&self.series(self.run, &Subject::market()), &lanes, self.end(), compared));
        out.push_str("<p class='key'><span class='warning'>warning</span><span class='critical'>critical</span>");
        if let (true, Some(against)) = (compared, &self.summary.against) {
            let _ = write!(
                out,
                "<span class='own'>above: {}</span><span class='other'>below, outlined: {}</span>",
                escape(&self.summary.run.name),
                escape(&against.name)
            );
        }
        if !self.events.is_empty() {
            out.push_str("<span class='event'>known event</span>");
        }
        out.push_str("<span class='volume'>items</span><span class='negatives'>negative items</span></p>");
        if left_out > 0 {
            let _ =
                write!(out, "<p class='quiet'>{} more with alerts are not drawn; alerts.jsonl has them.</p>", plural(left_out, "subject"));
        }
        out.push_str("</section>");
    }

    fn comparison(&self, comparison: &Comparison, out: &mut String) {
        let (Some(against), run) = (&self.summary.against, &self.summary.run) else { return };
        let _ = write!(
            out,
            "<section class='panel' id='comparison'><h2>{} against {}</h2><p class='lead'>{} found by both, {} by {} alone, {} by {} alone. \
             Alerts on one subject that overlap count as one.</p>",
            escape(&run.name),
            escape(&against.name),
            whole(comparison.both),
            whole(comparison.alone),
            escape(&run.name),
            whole(comparison.against_alone),
            escape(&against.name)
        );
        if !comparison.spells.is_empty() {
            let _ = write!(
                out,
                "<div class='scroll'><table><thead><tr><th>Subject</th><th>Found by</th><th>{}</th><th>{}</th><th class='number'>Later by</th></tr></thead><tbody>",
                escape(&run.name),
                escape(&against.name)
            );
            for spell in comparison.spells.iter().take(MOST_ALERTS) {
                let found = match (spell.fired_at, spell.against_fired_at) {
                    (Some(_), Some(_)) => "both",
                    (Some(_), None) => "this alone",
                    _ => "the other alone",
                };
                let at = |at: Option<EventTime>| at.map_or_else(|| "–".to_owned(), |at| format_time(at, "%-d %b %H:%M"));
                let later = spell.later_seconds.map_or_else(|| "–".to_owned(), signed_span);
                let _ = write!(
                    out,
                    "<tr><td><a href='#{}'>{}</a></td><td class='found {}'>{found}</td><td>{}</td><td>{}</td><td class='number'>{later}</td></tr>",
                    anchor(&spell.subject),
                    escape(&spell.subject_name),
                    found.split(' ').next().unwrap_or_default(),
                    at(spell.fired_at),
                    at(spell.against_fired_at)
                );
            }
            out.push_str("</tbody></table></div>");
            left_out(comparison.spells.len(), "spell", "summary.json", out);
        }
        let (own, other) = (&run.alerts, &against.alerts);
        out.push_str("<table class='plain'><thead><tr><th></th>");
        let _ = write!(
            out,
            "<th class='number'>{}</th><th class='number'>{}</th></tr></thead><tbody>",
            escape(&run.name),
            escape(&against.name)
        );
        let mut row = |name: &str, own: String, other: String| {
            let _ = write!(out, "<tr><th>{name}</th><td class='number'>{own}</td><td class='number'>{other}</td></tr>");
        };
        row("Alerts", whole(own.fired), whole(other.fired));
        row("Critical", whole(own.critical), whole(other.critical));
        row("Alerts a day", format!("{:.2}", own.alerts_per_day), format!("{:.2}", other.alerts_per_day));
        row("Per subject and month", rate(own.alerts_per_subject_month), rate(other.alerts_per_subject_month));
        if let (Some(one), Some(two)) = (&run.events, &against.events) {
            let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{:.0}%", value * 100.0));
            let delay = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), span);
            row("Precision", percent(one.precision), percent(two.precision));
            row("Recall", percent(Some(one.recall)), percent(Some(two.recall)));
            row("Delay, median", delay(one.delay_seconds_median), delay(two.delay_seconds_median));
            row("Delay, p90", delay(one.delay_seconds_p90), delay(two.delay_seconds_p90));
            row("False alarms per subject and month", rate(one.false_alarms_per_subject_month), rate(two.false_alarms_per_subject_month));
        }
        out.push_str("</tbody></table></section>");
    }

    fn event_table(&self, score: &EventScore, out: &mut String) {
        let _ = write!(
            out,
            "<section class='panel' id='events'><h2>Known events</h2><p class='lead'>{} of {} found (recall {:.0}%). {} of {} alerts lie in an event on their subject{}. \
             {} false alarms a subject and month. An event is found by the first alert that fires or escalates within it.</p>\
             <div class='scroll'><table><thead><tr><th>Subject</th><th>Event</th><th>Start</th><th>End</th><th>Found</th><th class='number'>Delay</th></tr></thead><tbody>",
            score.events_found,
            score.events,
            score.recall * 100.0,
            score.true_alerts,
            score.alerts,
            score.precision.map_or_else(String::new, |precision| format!(" (precision {:.0}%)", precision * 100.0)),
            rate(score.false_alarms_per_subject_month)
        );
        for outcome in &score.outcomes {
            let number = outcome.found_by.as_ref().and_then(|id| self.episodes.iter().find(|(_, episode)| episode.id == *id));
            let found = match (outcome.found_at, number) {
                (Some(at), Some((number, _))) => {
                    format!("<a href='#alert-{number}'>{} (alert {number})</a>", format_time(at, "%-d %b %H:%M"))
                }
                _ => "<strong class='missed'>missed</strong>".to_owned(),
            };
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{found}</td><td class='number'>{}</td></tr>",
                escape(&self.run.setup.watchlist.name_of(&outcome.event.subject)),
                escape(outcome.event.name.as_deref().unwrap_or("–")),
                format_time(outcome.event.start, "%-d %b %H:%M"),
                format_time(outcome.event.end, "%-d %b %H:%M"),
                outcome.delay_seconds.map_or_else(|| "–".to_owned(), span)
            );
        }
        out.push_str("</tbody></table></div></section>");
    }

    fn rules(&self, out: &mut String) {
        out.push_str(
            "<section class='panel' id='rules'><h2>What each rule did</h2><div class='scroll'><table><thead><tr><th>Rule</th><th>Judges</th><th class='number'>Subjects</th>\
             <th class='number'>Fired</th><th class='number'>Escalated</th><th class='number'>Critical</th><th class='number'>Resolved</th><th class='number'>Open at the end</th>\
             <th class='number'>Fired a subject and month</th><th class='number'>Budget</th><th class='number'>False alarms to expect</th></tr></thead><tbody>",
        );
        for (name, rule) in &self.summary.run.rules {
            let config = &self.run.setup.config.rules[name];
            let judges = match config.condition {
                Condition::Surge => "negative items against what is usual",
                Condition::Share => "share of negative items",
                Condition::Level => "mean score",
                Condition::Relative => "share against the rest of the market",
            };
            let budget = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), rate);
            let _ = write!(
                out,
                "<tr><th>{}</th><td>{judges}, {} windows</td><td class='number'>{}</td><td class='number strong'>{}</td><td class='number'>{}</td><td class='number'>{}</td>\
                 <td class='number'>{}</td><td class='number'>{}</td><td class='number'>{}</td><td class='number'>{}</td><td class='number'>{}</td></tr>",
                escape(name),
                config.window,
                rule.subjects_watched,
                rule.fired,
                rule.escalated,
                rule.critical,
                rule.resolved,
                rule.open_at_end,
                rate(rule.alerts_per_subject_month),
                budget(rule.budget_per_subject_month),
                budget(rule.false_alarms_expected),
            );
        }
        out.push_str(
            "</tbody></table></div><p class='lead below'>The budget is what false_alarms_per_month allows a subject; times the subjects and months watched here it is the number of \
             alerts to expect from chance alone. What fired beyond it is news.</p>\
             <h3>Windows beyond the threshold</h3><div class='scroll'><table><thead><tr><th>Rule</th><th class='number'>Judged</th><th class='number'>Fired</th><th class='number'>Alert open</th>\
             <th class='number'>Held back: not yet long enough</th><th class='number'>cooldown</th><th class='number'>market alert open</th><th class='number'>quiet hours</th>\
             <th class='number'>Too few items or sources, or not sure enough</th></tr></thead><tbody>",
        );
        for (name, rule) in &self.summary.run.rules {
            let windows = &rule.windows;
            let _ = write!(out, "<tr><th>{}</th>", escape(name));
            for count in [
                windows.judged,
                windows.fired,
                windows.open,
                windows.held_by_for,
                windows.held_by_cooldown,
                windows.held_by_market,
                windows.held_by_quiet_hours,
                windows.too_few,
            ] {
                let _ = write!(out, "<td class='number'>{}</td>", whole(count as usize));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div></section>");
    }

    fn subjects(&self, out: &mut String) {
        let mut shown = 0;
        for (subject, name) in self.alerted() {
            let own = self.of(subject);
            if shown >= MOST_ALERTS {
                break;
            }
            let series = self.series(self.run, subject);
            let items: u64 = series.bins.iter().map(|bin| bin.count).sum();
            let negative: u64 = series.bins.iter().map(|bin| bin.negative).sum();
            let share = if items > 0 { negative as f64 / items as f64 * 100.0 } else { 0.0 };
            let _ = write!(
                out,
                "<section class='panel subject' id='{}'><h2>{} <small>{}</small></h2><p class='facts'>{}, {share:.0}% negative; {}</p><p class='readout'></p>",
                anchor(subject),
                escape(name),
                escape(subject.as_str()),
                plural(items as usize, "item"),
                plural(own.len(), "alert")
            );
            out.push_str(&chart::subject(&series, &own, &self.events_of(subject), self.end(), &anchor(subject)));
            for (number, episode) in own.iter().take(MOST_ALERTS - shown) {
                self.card(*number, episode, out);
            }
            shown += own.len();
            out.push_str("</section>");
        }
        left_out(self.episodes.len(), "alert", "alerts.jsonl", out);
    }

    fn card(&self, number: usize, episode: &Episode, out: &mut String) {
        let first = episode.first();
        let gravest = episode.records.iter().rfind(|record| record.transition != Transition::Resolved).unwrap_or(first);
        let open = episode.resolved_at.map_or_else(
            || "open at the end".to_owned(),
            |resolved| format!("open {}", span((resolved.0 - episode.fired_at.0) as f64 / 1e3)),
        );
        let verdict = match self.events.is_empty() {
            true => "",
            false if self.is_true(episode) => "<span class='verdict true'>in a known event</span>",
            false => "<span class='verdict false'>in no known event</span>",
        };
        let _ = write!(
            out,
            "<article class='alert {severity}' id='alert-{number}'><header><span class='severity'>{number} · {severity}</span><h3>{}</h3><span class='rule'>{}</span>{single}{verdict}<span class='since'>{open}</span></header>\
             <p class='why'>{}</p>",
            format_time(episode.fired_at, "%a %-d %b %Y, %H:%M"),
            escape(&episode.rule),
            escape(&first.why),
            severity = episode.severity.as_str(),
            single = if first.single_source { "<span class='verdict false'>one source</span>" } else { "" },
        );
        out.push_str(&chart::close_up(&self.run.panes, episode, self.end(), &self.run.setup.config.window));
        if !gravest.members.is_empty() {
            let names: Vec<String> = gravest
                .members
                .iter()
                .map(|member| {
                    format!("<a href='#{}'>{}</a> ({})", anchor(&member.subject), escape(&member.subject_name), member.novel_negative)
                })
                .collect();
            let _ = write!(out, "<p class='members'>Members: {}</p>", names.join(", "));
        }
        if episode.records.len() > 1 {
            out.push_str("<table class='transitions'><tbody>");
            for record in &episode.records[1..] {
                let _ = write!(
                    out,
                    "<tr><td>{}</td><td class='step'>{}</td><td>{}</td></tr>",
                    format_time(record.at, "%-d %b %H:%M"),
                    record.transition.as_str(),
                    escape(&record.why)
                );
            }
            out.push_str("</tbody></table>");
        }
        match self.run.rises.get(&episode.id).zip(first.baseline.as_ref().and_then(|baseline| baseline.rise.as_ref())) {
            Some((items, rise)) => {
                let _ = write!(
                    out,
                    "<p class='members'>Negative items since {}, when the rise began:</p>",
                    format_time(rise.since, "%-d %b %H:%M")
                );
                evidence(items, out);
            }
            None => evidence(&gravest.evidence, out),
        }
        out.push_str("</article>");
    }

    fn is_true(&self, episode: &Episode) -> bool {
        episode.records.iter().any(|record| self.events.iter().any(|event| event.holds(record)))
    }

    /// Watched subjects without an alert: the ones with the most news.
    fn quiet_subjects(&self, out: &mut String) {
        let alerted = self.alerted();
        let mut quiet: Vec<(u64, &Subject)> = self
            .run
            .panes
            .subjects()
            .iter()
            .filter(|subject| !alerted.iter().any(|(other, _)| other == subject))
            .map(|subject| (self.run.panes.of(subject).map(|pane| pane.count).sum(), subject))
            .collect();
        if quiet.is_empty() {
            return;
        }
        quiet.sort_by(|one, two| two.0.cmp(&one.0).then(one.1.cmp(two.1)));
        let _ = write!(
            out,
            "<section class='panel' id='quiet'><h2>Without an alert <small>{}, the {} with the most news shown</small></h2>",
            plural(quiet.len(), "subject"),
            quiet.len().min(MOST_QUIET)
        );
        for (count, subject) in quiet.iter().take(MOST_QUIET) {
            let name = self.run.setup.watchlist.name_of(subject);
            let _ = write!(
                out,
                "<details id='{}'{}><summary>{} <small>{} · {}</small></summary><p class='readout'></p>{}</details>",
                anchor(subject),
                if **subject == Subject::market() { " open" } else { "" },
                escape(&name),
                escape(subject.as_str()),
                plural(*count as usize, "item"),
                chart::subject(&self.series(self.run, subject), &[], &self.events_of(subject), self.end(), &anchor(subject))
            );
        }
        out.push_str("</section>");
    }

    fn data(&self, out: &mut String) {
        out.push_str("<section class='panel' id='data'><h2>What became of the records</h2><div class='scroll'><table class='plain'><thead><tr><th></th>");
        let runs: Vec<&RunSummary> = std::iter::once(&self.summary.run).chain(&self.summary.against).collect();
        for run in &runs {
            let _ = write!(out, "<th class='number'>{}</th>", escape(&run.name));
        }
        out.push_str("</tr></thead><tbody>");
        let mut row = |name: &str, value: &dyn Fn(&RunSummary) -> u64| {
            let _ = write!(out, "<tr><th>{}</th>", escape(name));
            for run in &runs {
                let _ = write!(out, "<td class='number'>{}</td>", whole(value(run) as usize));
            }
            out.push_str("</tr>");
        };
        row("Records read", &|run| run.items.read);
        row("Items counted", &|run| run.items.counted);
        row("Duplicates", &|run| run.items.duplicate);
        row("Late", &|run| run.items.late);
        let reasons: std::collections::BTreeSet<&str> = runs.iter().flat_map(|run| run.items.rejected.keys().copied()).collect();
        row("Rejected", &|run| run.items.rejected.values().sum());
        for reason in reasons {
            row(&format!("– {reason}"), &|run| run.items.rejected.get(reason).copied().unwrap_or(0));
        }
        row("Out of order, sorted", &|run| run.items.out_of_order);
        row("Texts scored by the model now", &|run| run.items.scored_by_model);
        row("Items scored by an earlier back-test", &|run| run.items.scored_before);
        row("Items scored in the files", &|run| run.items.scored_in_the_files);
        row("Observations", &|run| run.observations);
        row("Panes", &|run| run.panes as u64);
        row("Subjects", &|run| run.subjects as u64);
        out.push_str("</tbody></table></div>");
        if !self.summary.run.rejected_first.is_empty() {
            out.push_str("<h3>Rejected</h3><table class='plain'><tbody>");
            for rejected in &self.summary.run.rejected_first {
                let _ = write!(
                    out,
                    "<tr><td>{}, {}</td><td>{}</td><td>{}</td></tr>",
                    escape(&rejected.file),
                    rejected.row,
                    rejected.reason,
                    escape(&rejected.detail)
                );
            }
            out.push_str("</tbody></table>");
        }
        out.push_str("</section>");
    }

    fn configuration(&self, out: &mut String) {
        out.push_str("<section class='panel' id='configuration'><h2>Rules in force</h2>");
        let runs = std::iter::once((&self.summary.run, self.run)).chain(self.summary.against.as_ref().zip(self.against));
        for (summary, outcome) in runs {
            let config = &outcome.setup.config;
            let part =
                serde_json::json!({"window": config.window, "novelty": config.novelty, "detect": config.detect, "rules": config.rules});
            let text = toml::to_string(&part).expect("what came from TOML goes back to it");
            let _ = write!(
                out,
                "<details><summary>{} <small>{}</small></summary><pre>{}</pre></details>",
                escape(&summary.name),
                summary.config_version,
                escape(&text)
            );
        }
        out.push_str("</section>");
    }
}

fn evidence(items: &[EvidenceItem], out: &mut String) {
    if items.is_empty() {
        return;
    }
    out.push_str("<ol class='evidence'>");
    for item in items {
        let title = escape(item.title.as_deref().unwrap_or("(no headline)"));
        let linked = match item.url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
            Some(url) => format!("<a href='{}' rel='noopener noreferrer'>{title}</a>", escape(url)),
            None => title,
        };
        let source = item.source.as_deref().map_or_else(String::new, |source| format!("{} · ", escape(source)));
        let spread = match item.copies {
            0 => String::new(),
            copies => format!(" · told {} times by {}", copies + 1, plural(item.sources, "source")),
        };
        let _ = write!(
            out,
            "<li><span class='score'>{}</span><span>{linked} <small>{source}{}{spread}</small></span></li>",
            signed(item.score.to_f64()),
            format_time(item.published_at, "%-d %b %H:%M")
        );
    }
    out.push_str("</ol>");
}

fn left_out(count: usize, noun: &str, file: &str, out: &mut String) {
    if count > MOST_ALERTS {
        let _ = write!(out, "<p class='quiet'>{} more are not shown here; {file} has them.</p>", plural(count - MOST_ALERTS, noun));
    }
}

/// An element's id out of a subject's name.
fn anchor(subject: &Subject) -> String {
    let safe = subject.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    format!("subject-{}", safe.collect::<String>())
}

fn delay_text(score: &EventScore) -> String {
    match (score.delay_seconds_median, score.delay_seconds_p90) {
        (Some(median), Some(p90)) => format!("delay {} median, {} p90", span(median), span(p90)),
        _ => "none found".to_owned(),
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", whole(count), if count == 1 { "" } else { "s" })
}

/// `12,345`.
fn whole(value: usize) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        small if small < 0.01 => format!("{small:.4}"),
        _ => format!("{value:.2}"),
    }
}

fn signed(value: f64) -> String {
    format!("{}{:.2}", if value < 0.0 { "−" } else { "+" }, value.abs())
}

/// `4 h 30 min`.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.round() as i64;
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    }
}

fn signed_span(seconds: f64) -> String {
    match seconds {
        0.0 => "same time".to_owned(),
        earlier if earlier < 0.0 => format!("−{}", span(-earlier)),
        later => span(later),
    }
}
