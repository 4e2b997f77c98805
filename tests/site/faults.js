// What a reader would stumble over on a page, one line each: run within it by test_site.py.
const all = (s, r = document) => [...r.querySelectorAll(s)], faults = [];
const article = document.querySelector('.bd-article'), window_ = document.documentElement.clientWidth;
const say = (fault, e) => faults.push(fault + ': ' + (e?.outerHTML ?? '').slice(0, 160));
const scrolls = e => { for (; e && e !== article; e = e.parentElement)
  if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return true; };
const seen = e => e.checkVisibility() && e.getClientRects().length;
if (document.documentElement.scrollWidth > window_) say(`the page is ${document.documentElement.scrollWidth} wide`);
for (const e of all('mjx-merror, [data-mjx-error]')) say('an equation is refused', e);
for (const e of all('mjx-container', article)) if (!e.querySelector('mjx-assistive-mml')) say('an equation without MathML', e);
const left = e => e.getBoundingClientRect().left;
for (const e of all('div.math', article).filter(seen)) {
  const glyphs = all('mjx-container svg *, mjx-mi, mjx-mo', e).filter(g => g.getBoundingClientRect().width).map(left);
  if (Math.min(...glyphs) < left(e) - 1) say('an equation loses its left edge', e);
}
for (const e of all('.bd-article *').filter(seen)) {
  const box = e.getBoundingClientRect();
  if ((box.right > window_ + 1 || box.left < -1) && box.width && !scrolls(e) && !e.closest('mjx-assistive-mml')) {
    say('off the window', e); break; }
}
for (const e of all('img', article)) {
  const short = e.closest('.jupyter-widgets') && e.alt.length < 40;
  if (!e.alt || e.alt.startsWith('<Figure') || short) say('no alternative text', e);
  const meant = +e.getAttribute('width') || e.naturalWidth; // a picture may be drawn twice as fine as it is shown
  // at 0.45 letters of 9 points, drawn at 192 dots an inch, are 10.8 pixels high; a slider's picture, given in the column's
  // pixels, is small, and one that is cut shows something else
  const share = e.closest('.widget-subarea') ? 0.53 : 0.44;
  const small = e.width < Math.min(share * meant, 639);
  if (small && window_ < 600 && e.complete && e.closest('.cell_output') && seen(e)) {
    say(`a figure shrunk to ${e.width} of ${meant}`, e);
  }
}
for (const e of window_ < 600 ? all('.cell_output svg[viewBox] text', article).filter(seen) : []) {
  if (e.closest('.widget-subarea')) continue; // a slider's picture is seen whole
  const svg = e.closest('svg'), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const high = parseFloat(getComputedStyle(e).fontSize) * scale;
  if (high < 9.3) { say(`letters of ${high.toFixed(1)} pixels in a drawing`, e); break; }
}
const waiting = all('.cell_output img[src$=".png"]', article).slice(1).filter(i => i.loading !== 'lazy');
for (const e of waiting) say('a picture that does not wait', e);
for (const e of all('.bd-article table.table td').filter(seen)) {
  const lines = (e.firstElementChild ?? e).clientHeight / parseFloat(getComputedStyle(e).lineHeight);
  const words = e.textContent.trim().split(/\s+/).length;
  if (words >= 8 && lines > 4 && words / lines < 1.7 && e.clientWidth < 130) say('a column of single words', e);
}
for (const e of all('*', article)) {
  const style = ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  if (style && e.scrollWidth > e.clientWidth + 1 && seen(e) && e.tabIndex < 0 && !e.closest('mjx-assistive-mml')
      && !e.querySelector('a, button, input, [tabindex="0"]')) say('scrolls, but not by keys', e);
}
const fields = all('.search-button__button').filter(seen);
if (fields.length !== 1) faults.push(`${fields.length} search buttons`);
return faults;
