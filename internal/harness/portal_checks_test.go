package harness_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// axeCore is the file of axe-core, and its version.
const axeCore = "axe-core-4.14.1.js"

// axe returns what axe-core finds wrong with the page that is shown, by all of its
// rules or by some.
func (b *tab) axe(source string, rules ...string) []string {
	b.t.Helper()
	if !eval[bool](b, `typeof axe === "object"`) {
		eval[bool](b, source+"\n;true")
	}
	return eval[[]string](b, `async (rules) => {
		const run = {resultTypes: ["violations"]};
		if (rules) run.runOnly = rules;
		const {violations} = await axe.run(document, run);
		return violations.flatMap((v) => v.nodes.slice(0, 5).map((n) =>
			"axe " + v.id + ": " + v.help + ": " + n.target.join(" ") + ": " + n.html.slice(0, 200) + (n.any[0] || n.all[0] || n.none[0] ? ": " + (n.any[0] || n.all[0] || n.none[0]).message : "")));
	}`, rules)
}

// tooWide returns what makes the page wider than the window, if it is.
func (b *tab) tooWide() []string {
	b.t.Helper()
	return eval[[]string](b, `(() => {
		const root = document.documentElement, width = root.clientWidth;
		if (root.scrollWidth <= width) return [];
		const out = [...document.querySelectorAll("body *")].filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).overflowX === "visible" || e.getBoundingClientRect().right > width + 1);
		return [root.scrollWidth + " pixels wide in a window of " + width + ": " + out.slice(-3).map((e) => e.outerHTML.slice(0, 160)).join(" | ")];
	})()`)
}

// keyboard returns what is wrong for who has a keyboard and no mouse: controls that
// Tab does not come to, or from which it does not lead on, and focus that is not seen.
func (b *tab) keyboard() (wrong []string) {
	b.t.Helper()
	// What can be focused gets a number. Of a group of radio buttons Tab comes to one.
	all := eval[int](b, `(() => {
		let n = 0; const groups = new Set();
		for (const e of document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")) {
			if (e.disabled || e.type === "hidden" || e.tabIndex < 0 || !e.checkVisibility({visibilityProperty: true})) continue;
			if (e.type === "radio") { if (groups.has(e.name)) continue; groups.add(e.name); }
			e.dataset.stop = n++;
		}
		const body = document.body; // from its beginning
		body.tabIndex = -1; body.focus({preventScroll: true}); body.blur(); body.removeAttribute("tabindex"); scrollTo(0, 0);
		return n;
	})()`)
	// stop is where the focus is.
	type stop struct {
		N    int
		Seen bool
		HTML string
	}
	const where = `(() => {
		const e = document.activeElement;
		if (!e || e === document.body || e === document.documentElement) return {N: -1, Seen: true};
		const s = getComputedStyle(e), r = e.getBoundingClientRect();
		const seen = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 && r.width > 0 && r.height > 0 && r.right > 0 && r.bottom > 0 && r.left < innerWidth && r.top < innerHeight;
		return {N: e.dataset.stop === undefined ? -2 : Number(e.dataset.stop), Seen: seen, HTML: e.outerHTML.slice(0, 160)};
	})()`
	met := map[int]bool{}
	last := -1
	for presses := 0; ; presses++ {
		b.must(chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Tab)))
		at := eval[stop](b, where)
		if at.N == -1 || met[at.N] && at.N != last { // a field of a date has stops within
			break // it has gone around
		}
		if at.N >= 0 {
			met[at.N] = true
		}
		if !at.Seen && at.N != last {
			wrong = append(wrong, "the focus is not seen on "+at.HTML)
		}
		last = at.N
		if presses > 2*all+40 {
			wrong = append(wrong, fmt.Sprintf("Tab does not lead on from %s", at.HTML))
			break
		}
	}
	for n := range all {
		if !met[n] {
			wrong = append(wrong, "Tab does not come to "+eval[string](b, `(n) => document.querySelector("[data-stop='" + n + "']").outerHTML.slice(0, 160)`, n))
		}
	}
	return wrong
}

// skips checks that the first link of a page leads to its content.
func (b *tab) skips() {
	b.t.Helper()
	eval[bool](b, `((b) => { b.tabIndex = -1; b.focus(); b.blur(); b.removeAttribute("tabindex"); return true; })(document.body)`)
	b.must(chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Tab)))
	if !eval[bool](b, `document.activeElement.matches(".skip") && document.activeElement.getBoundingClientRect().left >= 0`) {
		b.t.Errorf("the first that Tab comes to is not the link to the content, to be seen: %s", eval[string](b, `document.activeElement.outerHTML`))
		return
	}
	b.must(chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Enter)))
	b.await("focus on the content", `document.activeElement.id === "main"`)
}

// walk goes to every page that links lead to.
type walk struct {
	names  []string         // of what is in the server: pages that differ in a name only are alike
	axe    string           // source of axe-core
	errors map[string]int64 // pages that show an error, and its status

	mu      sync.Mutex
	changed *sync.Cond
	queue   []string
	seen    map[string]bool
	alike   map[string]int // by shape
	busy    int
	visited []string
}

// alike returns how many pages are visited of a shape: of those that differ in what
// they are filtered by, one.
func alike(shape string) int {
	if strings.HasSuffix(shape, "?") {
		return 2
	}
	return 1
}

func newWalk(t *testing.T, names ...string) *walk {
	w := &walk{names: names, axe: string(cacheFile(t, axeCore)), errors: map[string]int64{}, seen: map[string]bool{}, alike: map[string]int{}}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// shape returns what pages that are alike have in common.
func (w *walk) shape(path string) string {
	path, query, _ := strings.Cut(path, "?")
	segments := strings.Split(path, "/")
	for i, s := range segments {
		known := strings.ContainsAny(s, "0123456789:%.-")
		for _, name := range w.names {
			known = known || s == name
		}
		if known && i > 2 && !fixed[s] {
			segments[i] = "*"
		}
	}
	var keys []string
	for pair := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(pair, "=")
		keys = append(keys, key)
	}
	if len(keys) > 1 {
		keys = []string{"several"}
	}
	return strings.Join(segments, "/") + "?" + keys[0]
}

// fixed are segments of paths that look like names and are none.
var fixed = map[string]bool{"dead-letters": true, "rotate-secret": true, "scope-maps": true, "service-principals": true}

// addError has a page visited that shows an error.
func (w *walk) addError(path string, status int64) {
	w.errors[path] = status
	w.add(path)
}

// add has pages visited.
func (w *walk) add(paths ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range paths {
		path, _, _ = strings.Cut(path, "#")
		shape := w.shape(path)
		if w.seen[path] || w.alike[shape] == alike(shape) {
			continue
		}
		w.seen[path] = true
		w.alike[shape]++
		w.queue = append(w.queue, path)
	}
	w.changed.Broadcast()
}

// next returns a page to visit, when there is one. Afterwards done has to be called.
func (w *walk) next() (path string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 {
		if w.busy == 0 {
			return "", false
		}
		w.changed.Wait()
	}
	path, w.queue = w.queue[0], w.queue[1:]
	w.busy++
	return path, true
}

func (w *walk) done(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.visited = append(w.visited, path)
	w.changed.Broadcast()
}

// run visits all pages, in a few tabs at a time, and has each looked at.
func (w *walk) run(t *testing.T, open func(*testing.T) *tab, look func(*tab)) {
	t.Run("pages", func(t *testing.T) {
		for n := range 2 {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				b := open(t)
				for path, ok := w.next(); ok; path, ok = w.next() {
					func() {
						defer w.done(path)
						w.visit(b, path, look)
					}()
				}
			})
		}
	})
}

func (w *walk) visit(b *tab, path string, look func(*tab)) {
	status, mediaType := b.open(path)
	want := int64(http.StatusOK)
	for at, code := range w.errors {
		if path == at || strings.HasPrefix(path, at+"?") {
			want = code
		}
	}
	if status != want {
		b.t.Errorf("%s is answered %d, want %d", path, status, want)
	}
	if mediaType != "text/html" {
		return
	}
	w.add(eval[[]string](b, `[...document.querySelectorAll("a[href]")].map((a) => a.href).filter((h) => h.startsWith(location.origin + "/portal")).map((h) => h.slice(location.origin.length))`)...)
	look(b)
	b.sound()
}

// whole checks what holds for every page in both sizes and both schemes of colours,
// of the page that is shown.
func (b *tab) whole(axe string) {
	b.t.Helper()
	at := eval[string](b, `location.pathname + location.search`)
	report := func(as string, wrong []string) {
		b.t.Helper()
		for _, text := range wrong {
			b.t.Errorf("%s (%s): %s", at, as, text)
		}
	}
	b.look(desktop, "light")
	report("wide, light", b.axe(axe))
	report("wide", b.tooWide())
	b.look(desktop, "dark")
	report("wide, dark", b.axe(axe, "color-contrast"))
	b.look(phone, "dark")
	report("phone, dark", b.axe(axe))
	report("phone", b.tooWide())
	b.look(phone, "light")
	report("phone, light", b.axe(axe, "color-contrast"))
	b.look(desktop, "light")
	report("keyboard", b.keyboard())
}
