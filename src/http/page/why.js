// Why an alert fired, in plain words.

import { between, counted, few, howOften, minute, nameOf, percent, shortDay, signed, whole } from './format.js';
import { current, say } from './words.js';

/** The record has the sentence in English; in other languages it is made of the same figures. */
export function whyOf(alert) {
  if (current() === 'en') return alert.why;
  const { window, baseline, condition, rest_of_market: rest } = alert;
  const minutes = Math.round((Date.parse(window.end) - Date.parse(window.start)) / 60_000);
  const items = `截至 ${minute(window.end)} UTC 的 ${minutes} 分钟内，关于${nameOf(alert)}的 ${whole(window.count)} 条新闻中有 ${whole(window.negative)} 条负面`;
  let fact = items;
  if (condition === 'surge') {
    const { rise, expected_negative: expected } = baseline ?? {};
    const fresh = window.novel_negative < window.negative ? `（其中 ${whole(window.novel_negative)} 条是新消息）` : '';
    fact = rise && alert.transition !== 'resolved'
      ? `自 ${shortDay(rise.since)} ${minute(rise.since)} UTC 起，关于${nameOf(alert)}的负面新闻持续增多：${whole(rise.negative)} 条，预期 ${few(rise.expected_negative)} 条`
      : `${items}${fresh}，预期 ${few(expected)} 条`;
    if (alert.false_alarms_per_month != null) fact += `（仅凭偶然，${howOften(alert.false_alarms_per_month)}）`;
  } else if (condition === 'relative' && rest) {
    fact = `${items}（${percent(window.negative_share)}），市场其余部分 ${whole(rest.count)} 条中 ${whole(rest.negative)} 条（${percent(rest.negative_share)}）`;
  } else if (condition === 'level') {
    fact = `${items}，平均得分 ${signed(window.mean_score)}`;
  } else {
    fact = `${items}（${percent(window.negative_share)}）`;
  }
  const begin = { firing: '', escalated: '现已升级为严重：', resolved: condition === 'surge' ? '不再异常：' : '已恢复平静：' }[alert.transition];
  return `${begin}${fact}。`;
}

/** What the figures mean for somebody who does not know the rule. */
export function meaningOf(alert) {
  const { window, baseline, threshold, interval, rest_of_market: rest } = alert;
  const parts = [];
  if (alert.condition === 'surge' && alert.false_alarms_per_month != null) {
    parts.push(say('chance', { often: howOften(alert.false_alarms_per_month), budget: say('budget', { duration: between(threshold.value) }) }));
    if (baseline) {
      const expected = few(baseline.rise?.expected_negative ?? baseline.expected_negative);
      parts.push(say('expected_from', { expected, hours: whole(Math.round(baseline.history_hours)), whose: say(baseline.prior) }));
    }
  } else if (interval) {
    const shown = alert.condition === 'level' ? signed : percent;
    const bound = alert.condition === 'level' ? interval.upper : interval.lower;
    parts.push(say('sure', { confidence: percent(interval.confidence), bound: shown(bound), limit: shown(threshold.value) }));
  }
  if (rest) parts.push(say('rest', { negative: whole(rest.negative), count: whole(rest.count), share: percent(rest.negative_share) }));
  if (window.novel_negative > 0) {
    parts.push(say('told_by', { novel: counted('n_stories', window.novel_negative), sources: counted('n_sources', window.novel_sources) }));
  }
  if (alert.single_source) parts.push(say('single_source'));
  return parts.join(current() === 'zh' ? '' : ' ');
}
