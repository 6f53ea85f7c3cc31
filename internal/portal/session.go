package portal

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// The session of a browser is a token in a cookie. It counts below Root alone: the
// other faces look at the Authorization header and at no cookie.
const (
	cookieName       = "dockbell"
	secureCookieName = "__Secure-dockbell" // browsers take it over HTTPS alone (RFC 6265bis, section 4.1.3.1)
)

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

// sendToLogin sends a browser to log in, and from there back to the page it wanted.
func (p *portal) sendToLogin(w http.ResponseWriter, r *http.Request) {
	to := Root + "/login"
	if r.Method == http.MethodGet {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	if r.Header.Get("Sec-Fetch-Dest") == "empty" { // a script of ours
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// login is what the page of that name shows.
type login struct {
	Next, User, Problem string
}

func (p *portal) showLogin(w http.ResponseWriter, r *http.Request) error {
	if token := sessionOf(r); token != "" {
		if _, _, err := p.Visitor(r.Context(), token); err == nil {
			http.Redirect(w, r, ours(r.FormValue("next")), http.StatusSeeOther)
			return nil
		}
	}
	return p.render(w, r, nil, http.StatusOK, "login", page{Title: "Log in", Body: login{Next: ours(r.FormValue("next"))}})
}

func (p *portal) login(w http.ResponseWriter, r *http.Request) error {
	user, password, next := strings.TrimSpace(r.PostFormValue("username")), r.PostFormValue("password"), ours(r.PostFormValue("next"))
	token, err := p.Login(r.Context(), r.RemoteAddr, user, password)
	if fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Unavailable) {
		return p.render(w, r, nil, http.StatusForbidden, "login", page{Title: "Log in", Body: login{next, user, sentence(err)}})
	}
	if err != nil {
		return err
	}
	setSession(w, r, token)
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (p *portal) logout(w http.ResponseWriter, v *visit) error {
	setSession(w, v.Request, "")
	http.Redirect(w, v.Request, Root+"/login", http.StatusSeeOther)
	return nil
}

// ours returns a page of the portal: next, if that is one.
func ours(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, Root+"/") || strings.HasPrefix(u.Path, Root+"/login") || strings.Contains(next, "\\") {
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
