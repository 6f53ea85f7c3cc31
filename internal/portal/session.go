package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// The session of a browser is a token in a cookie. It counts below Root alone: the
// other faces look at the Authorization header and at no cookie.
const (
	cookieName       = "dockbell"
	secureCookieName = "__Secure-dockbell" // browsers take it over HTTPS alone (RFC 6265bis, section 4.1.3.1)
)

// nameOf returns the name of the cookie. The server has set r.TLS as well for a
// client that a trusted proxy says came over HTTPS.
func nameOf(r *http.Request) string {
	if r.TLS != nil {
		return secureCookieName
	}
	return cookieName
}

// sessionOf returns the token of a browser, empty for none.
func sessionOf(r *http.Request) string {
	c, err := r.Cookie(nameOf(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// setSession has a browser keep a token until it is closed; an empty one ends the
// session.
func setSession(w http.ResponseWriter, r *http.Request, token string) {
	c := &http.Cookie{Name: nameOf(r), Value: token, Path: Root, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// sendToLogin sends a browser to log in, and from there back to the page it wanted. A
// form that came without a session was not carried out; the page to log in keeps it,
// so that nothing that was typed is lost.
func (p *portal) sendToLogin(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Sec-Fetch-Dest") == "empty": // a script of ours
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodPost:
		l := login{Next: ours(pageBefore(r))}
		if err := r.ParseForm(); err != nil {
			p.fail(w, r, nil, fault.Wrap(err, fault.Invalid, "nobody is logged in, and the form cannot be read"))
			return
		}
		if form := r.PostForm.Encode(); len(form) <= maxKept {
			l.Kept = &kept{To: r.URL.Path, Form: form}
		} else {
			l.Problem = "The session was over before the form arrived, and nothing was changed. The form is too long to be kept here: log in on another page, and go back to send it again."
		}
		if err := p.renderLogin(w, r, http.StatusForbidden, l); err != nil {
			p.fail(w, r, nil, err)
		}
	default:
		http.Redirect(w, r, Root+"/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
	}
}

// pageBefore returns the page that a form was on, if the browser tells.
func pageBefore(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host != r.Host {
		return ""
	}
	return u.RequestURI()
}

// login is what the page of that name shows.
type login struct {
	Next, User, Problem string
	Kept                *kept // nil: no form
}

// maxKept is how long a form may be to be kept, in bytes: encoded once more, it has to
// come back in one.
const maxKept = maxForm / 4

// kept is a form that came when the session was over.
type kept struct {
	To   string // the path that it was sent to, a page of ours
	Form string // its fields, as application/x-www-form-urlencoded
}

// keptOf returns the form that the page to log in has kept, nil for none.
func keptOf(r *http.Request) *kept {
	k := kept{To: r.PostFormValue("kept-to"), Form: r.PostFormValue("kept-form")}
	if k.To == "" || ours(k.To) != k.To {
		return nil
	}
	return &k
}

func (p *portal) renderLogin(w http.ResponseWriter, r *http.Request, status int, l login) error {
	return p.render(w, r, nil, status, "login", page{Title: "Log in", Body: l})
}

func (p *portal) showLogin(w http.ResponseWriter, r *http.Request) error {
	if token := sessionOf(r); token != "" {
		if _, _, err := p.Visitor(r.Context(), token); err == nil {
			http.Redirect(w, r, ours(r.FormValue("next")), http.StatusSeeOther)
			return nil
		}
	}
	return p.renderLogin(w, r, http.StatusOK, login{Next: ours(r.FormValue("next"))})
}

// login starts a session, whatever the browser had before. A form that was kept is
// shown to be sent, not sent: that is for the person to say.
func (p *portal) login(w http.ResponseWriter, r *http.Request) error {
	user, password, next := strings.TrimSpace(r.PostFormValue("username")), r.PostFormValue("password"), ours(r.PostFormValue("next"))
	kept := keptOf(r)
	token, err := p.Login(r.Context(), r.RemoteAddr, user, password)
	if fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Unavailable) {
		status := statusOf(fault.As(err).Kind)
		if comeLater(w, err) {
			status = http.StatusTooManyRequests
		}
		return p.renderLogin(w, r, status, login{next, user, sentence(err), kept})
	}
	if err != nil {
		return err
	}
	setSession(w, r, token)
	if kept == nil {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	fields, err := url.ParseQuery(kept.Form)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the form that was kept cannot be read: open its page and fill it in again")
	}
	return p.render(w, r, nil, http.StatusOK, "again", page{Title: "Logged in", Body: again{kept.To, next, fields}})
}

// again is what the page of that name shows: a form that was kept.
type again struct {
	To, Next string
	Fields   url.Values
}

// logout ends the session, whether it was good still or not.
func (p *portal) logout(w http.ResponseWriter, r *http.Request) error {
	setSession(w, r, "")
	http.Redirect(w, r, Root+"/login", http.StatusSeeOther)
	return nil
}

// ours returns a page of the portal: next, if that is one.
func ours(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, Root+"/") || strings.HasPrefix(u.Path, Root+"/login") || strings.Contains(next, "\\") || slices.Contains(strings.Split(u.Path, "/"), "..") {
		return Root + "/"
	}
	return u.RequestURI()
}

// sentence returns an error as a sentence of a page.
func sentence(err error) string {
	return capital(fault.As(err).Message)
}

// capital begins a text with a capital letter.
func capital(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
