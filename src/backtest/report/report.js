// A readout under the pointer; the page is complete without it.
for (const chart of document.querySelectorAll('svg.chart')) {
  const numbers = name => chart.dataset[name].split(' ').map(text => (text === '-' ? null : Number(text)));
  const [index, count, negative] = [numbers('index'), numbers('count'), numbers('negative')];
  const [left, right, start, step] = ['left', 'right', 'start', 'step'].map(name => Number(chart.dataset[name]));
  const readout = chart.parentElement.querySelector('.readout');
  const cursor = chart.querySelector('.cursor');
  const date = time => new Date(time).toISOString().slice(0, 16).replace('T', ' ');
  const hide = () => { cursor.style.visibility = 'hidden'; readout.textContent = ''; };
  chart.addEventListener('pointermove', event => {
    const box = chart.getBoundingClientRect();
    const width = chart.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / box.width * width;
    const place = Math.floor((x - left) / (width - left - right) * count.length);
    if (place < 0 || place >= count.length) return hide();
    const shown = left + (place + 0.5) / count.length * (width - left - right);
    cursor.setAttribute('transform', `translate(${shown.toFixed(1)} 0)`);
    cursor.style.visibility = 'visible';
    const mood = index[place] == null ? '' : `  index ${index[place] < 0 ? '−' : '+'}${Math.abs(index[place]).toFixed(2)}`;
    readout.textContent = `${date(start + place * step)} UTC${mood}  ${count[place]} items, ${negative[place]} negative`;
  });
  chart.addEventListener('pointerleave', hide);
}
