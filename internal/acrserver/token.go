package acrserver

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
)

// maxForm is the longest form read, in bytes. Tokens of identity providers can
// have many kilobytes.
const maxForm = 256 << 10

// The answers hold one member each, as ACR's do.
type (
	accessAnswer struct {
		AccessToken string `json:"access_token"`
	}
	refreshAnswer struct {
		RefreshToken string `json:"refresh_token"`
	}
)

// getToken is docker's way: user name and password, or none, in the
// Authorization field; service and scopes in the query.
func (s *server) getToken(w http.ResponseWriter, r *http.Request, registry auth.Registry) error {
	id, err := s.Authority.Authenticate(r, registry)
	if err != nil {
		return err
	}
	return s.answerAccess(w, r, registry, id, r.URL.Query())
}

// postToken is the way of OAuth and of Azure: all in a form.
func (s *server) postToken(w http.ResponseWriter, r *http.Request, registry auth.Registry) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	var id auth.Identity
	switch grant := form.Get("grant_type"); grant {
	case "password":
		// Without a user name it is an anonymous client's question.
		if user := form.Get("username"); user != "" {
			id, err = s.Authority.Login(r.Context(), registry, r.RemoteAddr, user, form.Get("password"))
		}
	case "refresh_token":
		id, err = s.Authority.Refresh(r.Context(), registry, r.RemoteAddr, form.Get("refresh_token"))
	default:
		err = badGrant(grant, "password or refresh_token")
	}
	if err != nil {
		return err
	}
	return s.answerAccess(w, r, registry, id, form)
}

func (s *server) answerAccess(w http.ResponseWriter, r *http.Request, registry auth.Registry, id auth.Identity, params url.Values) error {
	if err := checkService(registry, params); err != nil {
		return err
	}
	wanted, err := auth.ParseScopes(params["scope"])
	if err != nil {
		return err
	}
	token, err := s.Authority.Issue(id, registry, wanted)
	if err != nil {
		return err
	}
	writeJSON(w, accessAnswer{token})
	return nil
}

// exchange makes a refresh token of what a client has: a token of this server's
// identity authority, or another refresh token. No other authority is trusted: its
// tokens are refused like a wrong password.
func (s *server) exchange(w http.ResponseWriter, r *http.Request, registry auth.Registry) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := checkService(registry, form); err != nil {
		return err
	}
	var id auth.Identity
	switch grant := form.Get("grant_type"); grant {
	case "access_token":
		id, err = s.Authority.Exchange(r.Context(), registry, r.RemoteAddr, form.Get("access_token"))
	case "refresh_token", "access_token_refresh_token":
		id, err = s.Authority.Refresh(r.Context(), registry, r.RemoteAddr, form.Get("refresh_token"))
	default:
		err = badGrant(grant, "access_token or refresh_token")
	}
	if err != nil {
		return err
	}
	token, err := s.Authority.IssueRefresh(id, registry)
	if err != nil {
		return err
	}
	writeJSON(w, refreshAnswer{token})
	return nil
}

// readForm reads the form in the body; parameters in the query do not count, for
// they end up in logs.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, fault.Wrap(err, fault.TooLarge, "the form is larger than %d bytes", maxForm)
		}
		return nil, fault.Wrap(err, fault.Invalid, "the body is not a form: send application/x-www-form-urlencoded")
	}
	return r.PostForm, nil
}

func badGrant(given, offered string) error {
	if given == "" {
		return fault.New(fault.Invalid, "the form has no grant_type: send %s as application/x-www-form-urlencoded", offered)
	}
	return fault.New(fault.Invalid, "grant_type %.80q is not offered here: use %s", given, offered)
}

// checkService refuses a request that means another registry than the one it was
// sent to. A client need not say which.
func checkService(registry auth.Registry, params url.Values) error {
	if service := params.Get("service"); service != "" && !strings.EqualFold(service, registry.Service) {
		return fault.New(fault.Invalid, "service %.80q is not the registry asked, which is %s: take it from the challenge of /v2/", service, registry.Service)
	}
	return nil
}
