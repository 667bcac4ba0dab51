// The interface in words: one table a language, asked by key. Names of subjects, topics, rules and sources, headlines and
// what the server says of its health stay as they come.

const WORDS = {
  en: {
    skip: 'Skip to the page', desk: 'Desk', tape: 'Tape', try: 'Try a text', health: 'Health', log_out: 'Log out',
    language: 'Language', theme: 'Colours', theme_auto: 'As the system', theme_light: 'Light', theme_dark: 'Dark',
    views: 'Views', event_time: 'Event time',
    connecting: 'Connecting', ok: 'Healthy', starting: 'Starting', degraded: 'Degraded',
    lost: 'Connection lost. Reconnecting…', silent_connection: 'No update for {seconds} seconds.', session_ended: 'The session has ended.',
    log_in_again: 'Log in again', stands_as_of: 'Everything below stands as of {time} UTC.',
    open_alerts: 'Open alerts', no_open_alerts: 'No open alerts.', watching: 'Watching {n} subject.|Watching {n} subjects.',
    wait_market: '{n} alert waits while the market’s alert is open.|{n} alerts wait while the market’s alert is open.',
    wait_quiet_hours: '{n} alert waits for the end of quiet hours.|{n} alerts wait for the end of quiet hours.',
    critical: 'Critical', warning: 'Warning', critical_alert: 'critical alert', warning_alert: 'warning alert',
    since: 'since {time}', since_for: 'since {time} ({duration})', single_source: 'Most of it is from a single source.',
    no_items_since: 'No items in its window since {time}: not resolved, but unknown.',
    acknowledged_by: 'Acknowledged by {by}, {time} UTC', silenced_until: 'Silenced by {by} until {time} UTC',
    recent: 'Recent transitions', recent_note: 'negative of all items', none_yet: 'None yet.',
    firing: 'Fired', escalated: 'Escalated', resolved: 'Resolved', no_items: 'no items', n_of_m: '{negative} of {count}',
    market: 'Market', group: 'Group', entity: 'Entity', topic: 'Topic', all_kinds: 'All kinds', groups: 'Groups', entities: 'Entities', topics: 'Topics',
    subject: 'Subject', change: 'Change', mean: 'Mean', negative: 'Negative', items: 'Items', trend: 'Trend', index: 'Index', buzz: 'Buzz',
    subjects: 'Subjects', last_window: 'last {duration}', find: 'Find a subject', kind: 'Kind', show_all: 'Show all {n}',
    subjects_caption: 'Subjects, by what has changed most unless another column is chosen. Choosing a subject shows its course.',
    no_subjects: 'No subjects yet. They appear when the first window closes.', none_found: 'No subject is called so.',
    change_meaning: 'How far the mean of the last window is from the mean of the course before it; less where there are few items',
    index_meaning: 'Mean score in which an item counts half as much for each half-life of its age; 0 when there is no news',
    buzz_meaning: 'Items as a multiple of what is usual at this hour of the week',
    nothing_to_draw: 'Nothing to draw yet: the first window has not closed.', unknown_subject: 'Nothing is known about this subject.',
    mix: '{negative} negative, {neutral} neutral, {positive} positive',
    score_axis: 'Mean score; dashed: the index', negatives_axis: 'New negative items; shaded: what is usual', items_axis: 'Items',
    chart_label: 'Mean score, new negative items with what is usual, and all items over time', chart_span: ', {from} to {to} UTC',
    legend: '{time} UTC  mean {mean}  index {index}  {items}, {novel} new negative', legend_usual: ', usually {expected}, rarely over {most}',
    legend_alert: '{severity} alert open', no_chart: 'The chart library did not load.', n_items: '{n} item|{n} items',
    alerts_of_subject: 'Its alerts', no_alerts_of_subject: 'No alert in what is kept here.',
    back: 'Back to {name}', why: 'Why did this fire?', figures: 'Figures', evidence: 'Evidence', members: 'Members',
    alert_gone: 'This alert is not among those that this process keeps. The command “bellwether trace” tells how it came about.',
    chance: 'By chance alone such an alarm comes {often} for this subject; the rule takes {budget}.', chance_of: 'once in {n} {unit}',
    often_daily: 'more than once a day', often_never: 'less than once in 1,000 years',
    budget: 'one in {duration}', days: 'day|days', months: 'month|months', years: 'year|years',
    expected_from: '{expected} were to be expected, from {hours} hours of {whose} past.', own: 'its own', pooled: 'its kind’s',
    sure: 'Taken together the items leave little doubt: with {confidence} confidence the true value is {bound} or worse; the rule fires from {limit}.',
    told_by: '{novel} told by {sources}.', n_stories: '{n} new story|{n} new stories', n_sources: '{n} source|{n} sources',
    rest: 'In the rest of the market {negative} of {count} were negative ({share}).',
    negative_of: 'Negative', novel: 'New stories', sources: 'Sources', expected: 'Expected', threshold: 'Threshold', p_value: 'p-value',
    rule_line: 'Rule {rule} ({condition}), {threshold}. Model {model}, configuration {version}.',
    copies: 'told {times} times by {sources} since {time}', unknown_source: 'unknown source', no_title: '(no title)', encrypted: '(an encrypted headline)',
    told_once: 'told once', spread_label: 'First told {first}, {copies}',
    log_odds: '{weight} to the log-odds of {label}', negative_word: 'negative', neutral_word: 'neutral', positive_word: 'positive',
    act: 'What is done about it', acknowledge: 'Acknowledge', withdraw: 'Withdraw', note: 'Note', note_hint: 'optional, for colleagues',
    silence: 'Silence', lift: 'Lift the silence', for_how_long: 'For', hour: '{n} hour|{n} hours', silence_meaning: 'Webhooks hear nothing new of {name} meanwhile. The alert topic and this page go on.',
    operators_only: 'Operators acknowledge and silence; you look on as a viewer.', no_operators: 'Nobody can acknowledge or silence: http.tokens names no operators.',
    failed: 'This did not work: {error}', no_answer: 'the server does not answer',
    tape_intro: 'Items as they are scored, the newest first.', filter: 'Filter', filter_hint: 'words of headline, source or topic', sentiment: 'Sentiment', any: 'Any', pause: 'Pause', go_on: 'Go on',
    tape_count: '{shown} of the last {n}', tape_empty: 'Nothing has come by yet. A process that only classifies has no tape.', tape_none: 'Nothing on the tape has that.',
    try_intro: 'A headline as the model reads it, and which words made it say so. Nothing of it goes to Kafka.', text: 'Text', read: 'Classify',
    reading: 'The model reads…', counts_for: 'Counts for', masked: 'Masked', masked_none: 'nothing', model: 'Model',
    for_it: 'marked: speaks for {label}', against_it: 'dotted: speaks against it',
    health_intro: 'How this process is.', since_start: 'since the start', role: 'Role', partitions: 'Partitions', records: 'Records', lag: 'Lag', commits: 'Commits', failed_commits: 'Failed',
    dead_letters: 'Dead letters', count: 'Count', late: 'Late', items_per_second: 'Items per second', rate_label: 'Items per second, at most the last five minutes', peak: 'peak {rate}',
    consumer_lag: 'Consumer lag', watermark_lag: 'Watermark lag', none_loaded: 'none loaded yet', on_device: '{name} {version} on {device}', configuration: 'Configuration', version: 'Version', nothing_wrong: 'Nothing is wrong.',
    footer: 'Scores run from −1 (negative) to +1 (positive). All times are UTC.', chart_credit: 'Chart:', s: '{n} s', min: '{n} min', h_min: '{h} h {min} min', days_long: '{n} days',
    token: 'Token', log_in: 'Log in', token_unknown: 'This token is not known here.', token_made: 'Whoever runs this makes one with',
    announce_open: '{n} open alert.|{n} open alerts.', announce: '{severity} alert {transition}: {name}.',
  },
  zh: {
    skip: '跳到正文', desk: '工作台', tape: '实时新闻', try: '试一试', health: '运行状况', log_out: '退出',
    language: '语言', theme: '配色', theme_auto: '跟随系统', theme_light: '浅色', theme_dark: '深色',
    views: '视图', event_time: '事件时间',
    connecting: '正在连接', ok: '正常', starting: '启动中', degraded: '异常',
    lost: '连接已断开，正在重连…', silent_connection: '已有 {seconds} 秒没有更新。', session_ended: '会话已结束。',
    log_in_again: '重新登录', stands_as_of: '以下内容截至 {time} UTC。',
    open_alerts: '未解除的警报', no_open_alerts: '没有未解除的警报。', watching: '正在监测 {n} 个对象。',
    wait_market: '全市场警报未解除期间，有 {n} 个警报在等待。', wait_quiet_hours: '有 {n} 个警报在等待静默时段结束。',
    critical: '严重', warning: '警告', critical_alert: '严重警报', warning_alert: '警告',
    since: '自 {time}', since_for: '自 {time}（{duration}）', single_source: '大部分来自同一来源。',
    no_items_since: '自 {time} 起窗口内没有新闻：并未解除，而是情况不明。',
    acknowledged_by: '{by} 于 {time} UTC 确认', silenced_until: '{by} 静音至 {time} UTC',
    recent: '最近的变化', recent_note: '负面 / 全部', none_yet: '暂无。',
    firing: '触发', escalated: '升级', resolved: '解除', no_items: '无新闻', n_of_m: '{count} 条中 {negative} 条',
    market: '市场', group: '组', entity: '实体', topic: '主题', all_kinds: '全部类别', groups: '组', entities: '实体', topics: '主题',
    subject: '对象', change: '变化', mean: '均值', negative: '负面', items: '条数', trend: '走势', index: '指数', buzz: '热度',
    subjects: '监测对象', last_window: '最近 {duration}', find: '查找对象', kind: '类别', show_all: '显示全部 {n} 个',
    subjects_caption: '监测对象，默认按变化大小排序。选择一个对象即可查看其走势。',
    no_subjects: '还没有对象。第一个窗口关闭后就会出现。', none_found: '没有这个名称的对象。',
    change_meaning: '最近一个窗口的均值与此前走势均值之差；条数少时相应缩小',
    index_meaning: '情绪均值，新闻的权重每过一个半衰期减半；没有新闻时为 0',
    buzz_meaning: '新闻条数相当于一周中这一时段通常水平的倍数',
    nothing_to_draw: '还没有可画的内容：第一个窗口尚未关闭。', unknown_subject: '没有这个对象的资料。',
    mix: '负面 {negative} 条，中性 {neutral} 条，正面 {positive} 条',
    score_axis: '平均得分；虚线为指数', negatives_axis: '新的负面新闻；阴影为通常水平', items_axis: '条数',
    chart_label: '平均得分、新的负面新闻及其通常水平、全部条数随时间的变化', chart_span: '，{from} 至 {to} UTC',
    legend: '{time} UTC  均值 {mean}  指数 {index}  {items}，新的负面 {novel} 条', legend_usual: '，通常 {expected}，很少超过 {most}',
    legend_alert: '{severity}警报未解除', no_chart: '图表库未能加载。', n_items: '{n} 条',
    alerts_of_subject: '该对象的警报', no_alerts_of_subject: '这里保存的记录中没有警报。',
    back: '返回 {name}', why: '为什么触发？', figures: '数据', evidence: '依据', members: '涉及的对象',
    alert_gone: '此进程没有保存这个警报。命令 “bellwether trace” 可以说明它的由来。',
    chance: '仅凭偶然，该对象{often}才会出现这样的警报；规则容许{budget}。', chance_of: '每 {n} {unit}一次',
    often_daily: '每天不止一次', often_never: '一千年也不到一次',
    budget: '每 {duration}一次', days: '天', months: '个月', years: '年',
    expected_from: '根据{whose} {hours} 小时的历史，预期为 {expected} 条。', own: '其自身', pooled: '同类对象',
    sure: '综合全部新闻几乎没有疑问：以 {confidence} 的置信度，真实值为 {bound} 或更差；规则的触发线为 {limit}。',
    told_by: '{novel}，来自 {sources}。', n_stories: '{n} 则新消息', n_sources: '{n} 个来源',
    rest: '市场其余部分 {count} 条中有 {negative} 条负面（{share}）。',
    negative_of: '负面', novel: '新消息', sources: '来源', expected: '预期', threshold: '阈值', p_value: 'p 值',
    rule_line: '规则 {rule}（{condition}），{threshold}。模型 {model}，配置 {version}。',
    copies: '自 {time} 起由 {sources}报道 {times} 次', unknown_source: '来源不明', no_title: '（无标题）', encrypted: '（已加密的标题）',
    told_once: '仅报道一次', spread_label: '首次出现于 {first}，{copies}',
    log_odds: '对“{label}”的对数几率贡献 {weight}', negative_word: '负面', neutral_word: '中性', positive_word: '正面',
    act: '处理情况', acknowledge: '确认', withdraw: '撤销确认', note: '备注', note_hint: '可选，供同事参考',
    silence: '静音', lift: '解除静音', for_how_long: '时长', hour: '{n} 小时', silence_meaning: '在此期间，关于 {name} 的新警报不会推送到 webhook。警报主题和本页面照常更新。',
    operators_only: '只有操作员可以确认和静音；您以观察者身份登录。', no_operators: '目前无人可以确认或静音：http.tokens 没有指定操作员。',
    failed: '操作失败：{error}', no_answer: '服务器没有应答',
    tape_intro: '刚刚评分的新闻，最新的在前。', filter: '筛选', filter_hint: '标题、来源或主题中的词', sentiment: '情绪', any: '全部', pause: '暂停', go_on: '继续',
    tape_count: '最近 {n} 条中的 {shown} 条', tape_empty: '还没有新闻。只负责分类的进程没有实时新闻。', tape_none: '没有符合条件的新闻。',
    try_intro: '看看模型如何理解一个标题，以及是哪些词起了作用。内容不会写入 Kafka。', text: '文本', read: '分类',
    reading: '模型正在阅读…', counts_for: '计入', masked: '已遮盖', masked_none: '无', model: '模型',
    for_it: '着色：支持“{label}”', against_it: '点线：反对',
    health_intro: '此进程的运行状况。', since_start: '启动以来', role: '角色', partitions: '分区', records: '记录', lag: '积压', commits: '提交', failed_commits: '失败',
    dead_letters: '死信', count: '数量', late: '迟到', items_per_second: '每秒条数', rate_label: '每秒条数，至多最近五分钟', peak: '峰值 {rate}',
    consumer_lag: '消费积压', watermark_lag: '水位线延迟', none_loaded: '尚未加载', on_device: '{name} {version}（{device}）', configuration: '配置', version: '版本', nothing_wrong: '一切正常。',
    footer: '得分从 −1（负面）到 +1（正面）。所有时间均为 UTC。', chart_credit: '图表：', s: '{n} 秒', min: '{n} 分钟', h_min: '{h} 小时 {min} 分钟', days_long: '{n} 天',
    token: '令牌', log_in: '登录', token_unknown: '此令牌无效。', token_made: '由管理员用以下命令生成：',
    announce_open: '有 {n} 个未解除的警报。', announce: '{severity}警报{transition}：{name}。',
  },
};

const TAGS = { en: 'en', zh: 'zh-CN' };
let language = 'en';
let plurals = new Intl.PluralRules('en');

/** What was chosen in this browser, else the first of its languages that is spoken here. */
export function preferred() {
  const spoken = tag => WORDS[tag?.slice(0, 2)] && tag.slice(0, 2);
  return spoken(kept('language')) ?? navigator.languages.map(spoken).find(Boolean) ?? 'en';
}

export function kept(name) {
  try {
    return localStorage.getItem(`bellwether.${name}`);
  } catch {
    return null;
  }
}

export const current = () => language;

export function speak(name) {
  language = WORDS[name] ? name : 'en';
  plurals = new Intl.PluralRules(TAGS[language]);
  document.documentElement.lang = TAGS[language];
}

/** The words under a key, with `{name}` filled in; where there is a `|`, the form that fits the number `n`. */
export function say(key, values = {}) {
  const text = WORDS[language][key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  const [one, other] = text.split('|');
  const form = other !== undefined && plurals.select(Number(String(values.n).replaceAll(',', ''))) !== 'one' ? other : one;
  return form.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Fills in what the markup names: `data-word` as text, `data-label`, `data-hint` and `data-meaning` as attributes. */
export function dress(root) {
  const places = [['word', null], ['label', 'aria-label'], ['hint', 'placeholder'], ['meaning', 'title']];
  for (const [name, attribute] of places) {
    for (const node of root.querySelectorAll(`[data-${name}]`)) {
      const text = say(node.dataset[name]);
      if (attribute) node.setAttribute(attribute, text);
      else if (node.textContent !== text) node.textContent = text;
    }
  }
}
