package portal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed templates assets
var files embed.FS

// page is what a template shows: what its own part of the page needs, in Body, and
// what is around it.
type page struct {
	Title   string
	Section string // of the entry of the menu that it belongs to
	Crumbs  []crumb
	Body    any

	// Set by render.
	Registry   string // of the path
	Registries []string
	User       string
	Theme      string // dark, light or empty: as the system says
	Path       string // of the page
	Done       string // a sentence about what was just done
	Version    string
	Menu       []entry
	Server     string // link to what is about the whole server; empty if the visitor may nothing there
}

// crumb is a place above a page.
type crumb struct{ Text, Link string }

// entry is one of the menu.
type entry struct {
	Text, Link string
	Current    bool
}

// menu are the entries of a registry's menu, their sections, and the action that
// whoever opens one must be allowed.
var menu = []struct{ text, section, action string }{
	{"Overview", "", "Microsoft.ContainerRegistry/registries/read"},
	{"Repositories", "repositories", "Microsoft.ContainerRegistry/registries/pull/read"},
	{"Webhooks", "webhooks", "Microsoft.ContainerRegistry/registries/webhooks/read"},
	{"Subscriptions", "subscriptions", "Microsoft.EventGrid/eventSubscriptions/read"},
	{"Events", "events", "Microsoft.ContainerRegistry/registries/events/read"},
	{"Figures", "figures", "Microsoft.ContainerRegistry/registries/statistics/read"},
	{"Replications", "replications", "Microsoft.ContainerRegistry/registries/replications/read"},
	{"Access", "access", "Microsoft.ContainerRegistry/registries/tokens/read"},
	{"Audit log", "audit", "Microsoft.ContainerRegistry/registries/auditLog/query/action"},
}

// templates has one set for each page: the page, the frame around it, and the parts
// that pages share.
var templates = func() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/frame.html", "templates/parts/*.html"))
	all := map[string]*template.Template{}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		base := strings.TrimSuffix(path.Base(name), ".html")
		if base != "frame" {
			all[base] = template.Must(template.Must(shared.Clone()).ParseFS(files, name))
		}
	}
	return all
}()

// render answers with a page. Nothing is sent if that fails.
func (p *portal) render(w http.ResponseWriter, r *http.Request, v *visit, status int, name string, pg page) error {
	pg.Path, pg.Version, pg.Theme, pg.Done = r.URL.RequestURI(), p.Version, themeOf(r), done[r.URL.Query().Get("done")]
	if v != nil {
		pg.User, pg.Registry = v.visitor.Name(), v.registry
		list, _ := v.api.Registries(r.Context()) // the page is of use without
		for _, reg := range list {
			pg.Registries = append(pg.Registries, reg.Name)
			if !strings.EqualFold(reg.Name, pg.Registry) {
				continue
			}
			for _, m := range menu {
				if v.visitor.May(m.action, reg.ID) {
					pg.Menu = append(pg.Menu, entry{m.text, v.path(m.section), m.section == pg.Section})
				}
			}
		}
		if open := v.serverPages(list); len(open) > 0 {
			pg.Server = open[0].Link
		}
	}
	return write(w, status, name, "frame", pg)
}

// write answers with a template of a page's set.
func write(w http.ResponseWriter, status int, name, part string, data any) error {
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, part, data); err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// path returns the address of a page of the registry that the visit is in: the
// segments below it, each of which may be any text.
func (v *visit) path(segments ...string) string { return pathIn(v.registry, segments...) }

// pathIn is visit.path for any registry.
func pathIn(registry string, segments ...string) string {
	b := Root + "/registries/" + url.PathEscape(registry)
	for _, s := range segments {
		if s != "" {
			b += "/" + url.PathEscape(s)
		}
	}
	return b
}

// done are the sentences that a page shows after a form, by the word that the form's
// answer puts into the address.
var done = map[string]string{}

// back sends the browser to a page after a form did what it was for.
func back(w http.ResponseWriter, v *visit, to, what string) error {
	if what != "" {
		to += "?done=" + url.QueryEscape(what)
	}
	http.Redirect(w, v.Request, to, http.StatusSeeOther)
	return nil
}

// functions are what templates can call.
var functions = template.FuncMap{
	"asset": func(name string) string { return Root + "/assets/" + name + "?" + assetSum },
	"in":    pathIn,
	"count": count,
	"bytes": size,
	"short": short,
	"moment": func(t time.Time) template.HTML {
		if t.IsZero() {
			return `<span class="none">never</span>`
		}
		t = t.UTC()
		return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s UTC">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05"), ago(time.Since(t))))
	},
	"took":   msWord,
	"ms":     func(d time.Duration) string { return milliseconds(d) },
	"pretty": pretty,
	"query":  func(pairs ...string) (string, error) { return query(pairs) },
	"list":   func(all ...any) []any { return all },
	"dict":   dict,
	"head8":  func(id string) string { return id[:min(len(id), 8)] },
	"join":   func(list []string) string { return strings.Join(list, ", ") },
}

// dict makes of pairs of a name and a value what a template is called with.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict takes pairs")
	}
	d := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		d[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return d, nil
}

// query writes pairs of a name and a value as the query of an address; those without
// a value are left out.
func query(pairs []string) (string, error) {
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("query takes pairs")
	}
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			values.Set(pairs[i], pairs[i+1])
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return "?" + values.Encode(), nil
}

// count writes a number with thin spaces between thousands.
func count(n any) string {
	digits := fmt.Sprint(n) // of a whole number
	sign := ""
	if digits[0] == '-' {
		sign, digits = "−", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// size writes a number of bytes.
func size(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n), 0
	for f >= 999.95 && unit < 5 {
		f /= 1000
		unit++
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + [...]string{"B", "kB", "MB", "GB", "TB", "PB"}[unit]
}

// short writes the beginning of a digest, by which people tell one from another.
func short(digest string) string {
	if _, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
		return hex[:12]
	}
	return digest
}

// ago writes how long ago something was, or in how long it will be.
func ago(d time.Duration) string {
	if d < 0 {
		return "in " + span(-d)
	}
	if d < time.Second {
		return "now"
	}
	return span(d) + " ago"
}

// span writes a time in one unit.
func span(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

func milliseconds(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	case d < 10*time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

// pretty writes JSON with a line for each member, and whatever is none as it is.
func pretty(text string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "", "  ") != nil {
		return text
	}
	return b.String()
}

// assetSum is in the addresses of assets, which browsers may keep for ever.
var assetSum = func() string {
	sum := sha256.New()
	names, _ := fs.Glob(files, "assets/*")
	for _, name := range names {
		data, _ := files.ReadFile(name)
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}()

// assets serves what pages load.
func assets() http.Handler {
	sub, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err)
	}
	server := http.StripPrefix(Root+"/assets/", http.FileServerFS(sub))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") { // a list of them is nothing for people
			http.NotFound(w, r)
			return
		}
		if r.URL.RawQuery == assetSum {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		server.ServeHTTP(w, r)
	})
}

const themeCookie = "dockbell-theme"

// themeOf returns what a browser was told to look like.
func themeOf(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "dark" || c.Value == "light") {
		return c.Value
	}
	return ""
}

// setTheme keeps what a person likes.
func setTheme(p *portal, w http.ResponseWriter, r *http.Request) error {
	theme := r.PostFormValue("theme")
	if theme != "dark" && theme != "light" {
		theme = ""
	}
	http.SetCookie(w, &http.Cookie{Name: themeCookie, Value: theme, Path: Root, MaxAge: 365 * 24 * 3600, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil, HttpOnly: true})
	http.Redirect(w, r, ours(r.PostFormValue("next")), http.StatusSeeOther)
	return nil
}
