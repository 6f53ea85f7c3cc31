package harness_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dockbell/dockbell/internal/harness"
)

// browsers are the names of Chromium, one of which has to be there.
var browsers = []string{"chromium", "chromium-browser", "google-chrome"}

// forBrowser starts Chromium, headless, and returns what tabs are opened in. It ends
// a test that make test-real has not asked for.
func forBrowser(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("DOCKBELL_TEST_REAL") == "" {
		t.Skip("NOT ASKED FOR: this drives a real browser; make test-real runs it")
	}
	var program string
	for _, name := range slices.Backward(browsers) {
		if path, err := exec.LookPath(name); err == nil {
			program = path
		}
	}
	if program == "" {
		missing(t, "MISSING: chromium: nothing shows that the portal works in a browser; make test-real says how to install it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.DisableGPU, chromedp.Env("LANG=C.UTF-8"),
		chromedp.Flag("force-prefers-reduced-motion", true)) // nothing is seen in the midst of moving
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // root has none
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s does not start: %v", program, err)
	}
	return ctx
}

// tab is one of the browser, with cookies of its own. Whatever a page does in it that
// no page of ours may do is kept: what it loads from elsewhere, what the policy of its
// content refuses, errors that it throws or writes to the console.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string // URL of the server

	mu    sync.Mutex
	wrong []string
}

// watch has a page tell of what the policy of its content refuses.
const watch = `addEventListener("securitypolicyviolation", (e) => console.error("refused by the policy: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample));`

// newTab opens one at the portal of a server.
func newTab(t *testing.T, browser context.Context, s *harness.Server) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	b := &tab{t: t, ctx: ctx, base: s.URL}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch})
	b.must(err)
	b.look(desktop, "light")
	return b
}

// heard takes an event of the browser.
func (b *tab) heard(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, b.base+"/portal") && !strings.HasPrefix(url, "data:") &&
			url != b.base+"/favicon.ico" { // of what is text and names no icon

			b.complain("loads %s", url)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var text []string
			for _, a := range e.Args {
				text = append(text, string(a.Value)+a.Description)
			}
			b.complain("%s on the console: %s", e.Type, strings.Join(text, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		b.complain("throws %s", text)
	case *log.EventEntryAdded:
		// That a page itself is answered with an error is for who opened it.
		if e.Entry.Level != log.EntryLevelError && e.Entry.Level != log.EntryLevelWarning || e.Entry.Source == log.EntrySourceNetwork && strings.HasPrefix(e.Entry.Text, "Failed to load resource: the server responded with a status of 4") &&
			!strings.Contains(e.Entry.URL, "/assets/") && !strings.HasSuffix(e.Entry.URL, "/check") {
			return
		}
		b.complain("%s in the log: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	}
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
}

// complaints returns what a page has done that it may not, and forgets it.
func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.wrong
	b.wrong = nil
	return all
}

func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%v\nat %s", err, b.where())
	}
}

// where describes what the tab shows.
func (b *tab) where() string {
	ctx, stop := context.WithTimeout(b.ctx, 5*time.Second)
	defer stop()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// limit is how long a page may take to do what is asked of it.
const limit = 20 * time.Second

// Sizes of the window, in pixels.
type window struct{ width, height int64 }

var desktop, phone = window{1440, 900}, window{390, 844}

// look sets the size of the window, and whether the system is dark or light.
func (b *tab) look(size window, scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	b.must(err)
	b.must(chromedp.Do(b.ctx, chromedp.EmulateViewport(size.width, size.height)))
}

// withoutScript has pages run no script of theirs.
func (b *tab) withoutScript() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.must(err)
}

// open goes to a page and returns the status of the answer, and its media type.
func (b *tab) open(path string) (status int64, mediaType string) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	res, err := chromedp.Run(ctx, chromedp.NavigateResponse(b.base+path))
	if err != nil {
		b.t.Fatalf("%s: %v", path, err)
	}
	return res.Status, res.MimeType
}

// page goes to a page that has to be there.
func (b *tab) page(path string) {
	b.t.Helper()
	if status, _ := b.open(path); status != http.StatusOK {
		b.t.Fatalf("%s: status %d\n%s", path, status, b.where())
	}
}

// pageWith goes to a page until it shows a text.
func (b *tab) pageWith(path, text string) {
	b.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		b.page(path)
		if eval[bool](b, `(text) => document.body.innerText.includes(text)`, text) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no text %q within %s\nat %s", text, limit, b.where())
		}
	}
}

// script returns an expression of JavaScript: what is given, or with arguments, the
// call of it with them.
func script(expression string, args []any) string {
	if len(args) == 0 {
		return expression
	}
	texts := make([]string, len(args))
	for i, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			panic(err)
		}
		texts[i] = string(text)
	}
	return "(" + expression + ")(" + strings.Join(texts, ", ") + ")"
}

// eval returns the value of an expression, or of a function with arguments.
func eval[T any](b *tab, expression string, args ...any) T {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script(expression, args), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v\nat %s", expression, err, b.where())
	}
	return v
}

// await waits until an expression is true. It may become so on another page.
func (b *tab) await(what, expression string, args ...any) {
	b.t.Helper()
	expression = "Boolean(" + script(expression, args) + ")"
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no %s within %s (%v)\n%s\nat %s", what, limit, err, expression, b.where())
		}
	}
}

// text waits until the page shows a text.
func (b *tab) text(text string) {
	b.t.Helper()
	b.await(fmt.Sprintf("text %q", text), `(text) => document.body.innerText.includes(text)`, text)
}

// named returns an expression for the first visible element that matches a selector
// and has that text, which people find it by.
func named(selector, text string) string {
	return script(`(selector, text) => [...document.querySelectorAll(selector)].find((e) => e.checkVisibility() && (e.getAttribute("aria-label") || e.innerText).trim() === text)`,
		[]any{selector, text})
}

const clickable = "a, button, summary"

// has reports whether the page shows a link or button with that text.
func (b *tab) has(text string) bool {
	b.t.Helper()
	return eval[bool](b, "Boolean("+named(clickable, text)+")")
}

// click clicks the link or button with that text.
func (b *tab) click(text string) {
	b.t.Helper()
	b.clickOn("link or button "+text, named(clickable, text))
}

// clickOn waits for the element that an expression finds, and clicks it with the
// mouse, where it is.
func (b *tab) clickOn(what, element string) {
	b.t.Helper()
	b.await(what, element)
	at := eval[[2]float64](b, `((e) => { e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })(`+element+`)`)
	b.must(chromedp.Do(b.ctx, chromedp.MouseClickXY(at[0], at[1])))
}

// follow clicks the link or button with that text, and waits for the page that it
// leads to, whose status it returns.
func (b *tab) follow(text string) int64 {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	res, err := chromedp.RunResponse(ctx, chromedp.Func(func(context.Context, *chromedp.Target) error { b.click(text); return nil }))
	if err != nil {
		b.t.Fatalf("%s: %v\nat %s", text, err, b.where())
	}
	return res.Status
}

// field returns an expression for the control with a label.
func field(label string) string {
	return script(`(text) => [...document.querySelectorAll("label")].filter((l) => l.innerText.trim() === text).map((l) => l.control).find((c) => c && c.checkVisibility())`, []any{label})
}

// fill types text into the field with that label, in place of what is there.
func (b *tab) fill(label, text string) {
	b.t.Helper()
	b.await("field "+label, field(label))
	eval[bool](b, `((f) => { f.scrollIntoView({block: "center"}); f.focus(); f.select(); return document.activeElement === f; })(`+field(label)+`)`)
	if text == "" {
		b.must(chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Delete)))
		return
	}
	_, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: text})
	b.must(err)
}

// choose chooses an option of the field with that label, with the keyboard.
func (b *tab) choose(label, option string) {
	b.t.Helper()
	b.await("field "+label, field(label))
	eval[bool](b, `((f) => { f.focus(); return true; })(`+field(label)+`)`)
	b.must(chromedp.Do(b.ctx, chromedp.KeyEvent(option)))
	b.await("choice of "+option, `(option) => `+field(label)+`.selectedOptions[0].text === option`, option)
}

// wrongAt waits until a text is shown beside the field with that label, and bound to it.
func (b *tab) wrongAt(label, text string) {
	b.t.Helper()
	b.await(fmt.Sprintf("error %q beside %s", text, label), `(text) => ((f) => f && f.getAttribute("aria-invalid") === "true" &&
		(f.getAttribute("aria-describedby") || "").split(" ").some((id) => id && (document.getElementById(id) || f).innerText.includes(text)))(`+field(label)+`)`, text)
}

// login logs in by the form, and waits for the first page.
func (b *tab) login(user, password string) {
	b.t.Helper()
	b.page("/portal/login")
	b.fill("User name", user)
	b.fill("Password", password)
	b.follow("Log in")
	b.await("first page", `document.querySelector(".side")`)
}

// sound checks what holds for every page, of the page that is shown.
func (b *tab) sound() {
	b.t.Helper()
	at := eval[string](b, `location.pathname + location.search`)
	for _, wrong := range b.complaints() {
		b.t.Errorf("%s: %s", at, wrong)
	}
}

// cacheFile returns a file that make test-real has got.
func cacheFile(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "dockbell-test", name))
	if err != nil {
		missing(t, fmt.Sprintf("MISSING: %v: this test proves nothing without it; make test-real gets it", err))
	}
	return content
}
