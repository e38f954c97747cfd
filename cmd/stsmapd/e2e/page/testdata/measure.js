// Measures a page as it is laid out, and writes what is wrong with it, as JSON, into an element with the id "result".
'use strict';
(async () => {
	const problems = [];
	const rects = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let node = walker.nextNode(); node; node = walker.nextNode()) {
		const parent = node.parentElement;
		if (!node.data.trim() || parent.closest('script, .unseen, .rows thead') || !parent.getClientRects().length) continue;
		const whole = parent.closest('.domain, .host, .kind, .mode, time');
		// A line may break after a hyphen or a slash of running text, but not inside a name.
		const words = whole ? [[0, node.data.length]] :
			[...node.data.matchAll(/[^\s\/-]+[\/-]*/g)].map(m => [m.index, m.index + m[0].length]);
		for (const [from, to] of words) {
			const range = document.createRange();
			range.setStart(node, from);
			range.setEnd(node, to);
			const lines = new Set([...range.getClientRects()].filter(r => r.width > 0).map(r => Math.round(r.top)));
			if (lines.size > 1) problems.push('broken: ' + node.data.slice(from, to).trim());
		}
		if (parent.closest('.scroll, pre, .answers dd')) continue; // they scroll
		const range = document.createRange();
		range.selectNodeContents(node);
		for (const r of range.getClientRects()) {
			if (r.width < 1 || r.height < 1) continue;
			rects.push({l: r.left, r: r.right, t: r.top, b: r.bottom, text: node.data.trim()});
			if (r.right > innerWidth + 1 || r.left < -1) problems.push('outside: ' + node.data.trim());
		}
	}
	rects.sort((a, b) => a.t - b.t);
	rects.forEach((a, i) => {
		for (let j = i + 1; j < rects.length && rects[j].t < a.b - 3; j++) {
			const b = rects[j];
			if (Math.min(a.r, b.r) - Math.max(a.l, b.l) > 2 && Math.min(a.b, b.b) - b.t > 4) {
				problems.push('overlap: ' + a.text + ' | ' + b.text);
			}
		}
	});
	if (document.documentElement.scrollWidth > innerWidth) {
		problems.push(`the page is ${document.documentElement.scrollWidth} wide`);
	}
	let checked = 0;
	if (window.axe) {
		const found = await axe.run(document, {resultTypes: ['violations']});
		checked = found.passes.length;
		for (const v of found.violations) {
			problems.push(`axe: ${v.id}: ${v.help}: ${v.nodes.map(n => n.target + ' ' + n.failureSummary).join(' | ')}`);
		}
	}
	const result = parent.document.createElement('pre'); // a narrow page is in a frame
	result.id = 'result';
	result.textContent = JSON.stringify({width: innerWidth, dark: matchMedia('(prefers-color-scheme: dark)').matches,
		words: rects.length, checked, problems});
	parent.document.body.append(result);
})();
