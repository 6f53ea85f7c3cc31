package identityserver

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
)

// discoveryBody is the metadata of the authority (OpenID Connect Discovery 1.0,
// section 3; RFC 8414).
type discoveryBody struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	KeysURI               string   `json:"jwks_uri"`
	GrantTypes            []string `json:"grant_types_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
}

// clientCredentials is the one grant offered (RFC 6749, section 4.4).
const clientCredentials = "client_credentials"

// discovery answers with where everything is, in the version that was asked for.
func (s *server) discovery(w http.ResponseWriter, r *http.Request, name string) error {
	if err := s.checkTenant(name); err != nil {
		return err
	}
	at, version := base(r)+"/"+name, ""
	if strings.Contains(r.URL.Path, "/v2.0/") {
		version = "/v2.0"
	}
	writeJSON(w, http.StatusOK, discoveryBody{
		Issuer:                at + version,
		AuthorizationEndpoint: at + "/oauth2" + version + "/authorize",
		TokenEndpoint:         at + "/oauth2" + version + "/token",
		KeysURI:               at + "/discovery" + version + "/keys",
		GrantTypes:            []string{clientCredentials},
		AuthMethods:           []string{"client_secret_post", "client_secret_basic"},
		ResponseTypes:         []string{"token"},
		SubjectTypes:          []string{"public"},
		SigningAlgorithms:     []string{"ES256"},
	})
	return nil
}

// keys answers with the public keys of tokens.
func (s *server) keys(w http.ResponseWriter, _ *http.Request, name string) error {
	if err := s.checkTenant(name); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.Authority.PublicKeys())
	return nil
}

// authorize is where a tool that logs people in sends their browser.
func (s *server) authorize(http.ResponseWriter, *http.Request, string) error {
	return oauthError{http.StatusBadRequest, "unsupported_response_type",
		"nobody logs in here with a browser: use az login --service-principal, with what dockbell service-principal create prints"}
}

// checkTenant refuses an authority that is not ours.
func (s *server) checkTenant(name string) error {
	if name == adfs || strings.EqualFold(name, s.Authority.Tenant()) {
		return nil
	}
	return oauthError{http.StatusBadRequest, "invalid_request",
		"there is no tenant " + clip(name) + ": this server's is " + s.Authority.Tenant()}
}

// maxForm is the longest form read, in bytes.
const maxForm = 64 << 10

// tokenBody is an access token response (RFC 6749, section 5.1).
type tokenBody struct {
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	AccessToken string `json:"access_token"`
}

// token gives a client who knows its secret a token for a resource.
func (s *server) token(w http.ResponseWriter, r *http.Request, name string) error {
	if err := s.checkTenant(name); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return badRequest("the body is no form of at most 64 KiB: send application/x-www-form-urlencoded")
	}
	form := r.PostForm
	for name := range form {
		if len(form[name]) > 1 {
			return badRequest("parameter " + clip(name) + " is there more than once") // RFC 6749, section 3.2
		}
	}
	switch grant := form.Get("grant_type"); grant {
	case clientCredentials:
	case "":
		return badRequest("the form has no grant_type: send " + clientCredentials)
	default:
		return oauthError{http.StatusBadRequest, "unsupported_grant_type", "grant_type " + clip(grant) + " is not offered here: use " + clientCredentials}
	}
	id, secret, err := client(w, r)
	if err != nil {
		return err
	}
	resource, err := resourceOf(form.Get("scope"))
	if err != nil {
		return err
	}
	who, err := s.Authority.LoginClient(r.Context(), r.RemoteAddr, id, secret)
	if err != nil {
		return err
	}
	issuer := base(r) + "/" + name
	if strings.Contains(r.URL.Path, "/v2.0/") {
		issuer += "/v2.0"
	}
	token, err := s.Authority.IssueBearer(who, issuer, resource)
	if fault.Is(err, fault.Invalid) {
		return oauthError{http.StatusBadRequest, "invalid_scope", fault.As(err).Message}
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, tokenBody{"Bearer", int64(auth.BearerTokenLife.Seconds()), token})
	return nil
}

// client reads who the client is and its secret, from the form or the
// Authorization field (RFC 6749, section 2.3.1).
func client(w http.ResponseWriter, r *http.Request) (id, secret string, err error) {
	id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+base(r)+`"`) // taken back by a success
		user, password, ok := r.BasicAuth()
		escapedID, errID := url.QueryUnescape(user)
		escapedSecret, errSecret := url.QueryUnescape(password)
		switch {
		case !ok || errID != nil || errSecret != nil:
			return "", "", oauthError{http.StatusUnauthorized, "invalid_client", "the Authorization field is not valid: after Basic comes id:secret in base64"}
		case secret != "" || id != "" && id != escapedID:
			return "", "", badRequest("the client is named twice: in the form, or in the Authorization field")
		}
		id, secret = escapedID, escapedSecret
	}
	switch {
	case id == "":
		return "", "", badRequest("the form has no client_id: send the appId of a service principal")
	case secret == "":
		return "", "", oauthError{http.StatusUnauthorized, "invalid_client", "the form has no client_secret: send the password of " + clip(id)}
	}
	return id, secret, nil
}

// resourceOf reads a scope parameter that names one resource as Azure's clients
// do: the resource, a slash and .default. Azure's own scopes about people, which
// say nothing here, may stand beside it.
func resourceOf(scope string) (string, error) {
	about := []string{"openid", "profile", "email", "offline_access"}
	resources := slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return slices.Contains(about, s) })
	switch len(resources) {
	case 0:
		return "", badRequest("the form has no scope: send this server's own address as https://HOST/.default")
	case 1:
		if resource, ok := strings.CutSuffix(resources[0], "/.default"); ok && resource != "" {
			return resource, nil
		}
	}
	return "", oauthError{http.StatusBadRequest, "invalid_scope", "scope " + clip(scope) + " does not name one resource: write it like https://HOST/.default"}
}

// oauthError is a refusal in OAuth's words.
type oauthError struct {
	status      int
	code        string // of RFC 6749, section 5.2 or 4.1.2.1
	description string
}

func (e oauthError) Error() string { return e.description }

func badRequest(description string) error {
	return oauthError{http.StatusBadRequest, "invalid_request", description}
}

// refuseOAuth answers with OAuth's error body. A client that is not known gets
// 401, not 400, which Azure's command line would keep on disk and repeat.
func (s *server) refuseOAuth(w http.ResponseWriter, r *http.Request, err error) {
	var e oauthError
	if !errors.As(err, &e) {
		f := fault.As(err)
		e = oauthError{s.statusOf(w, r, err), "invalid_request", f.Message}
		switch f.Kind {
		case fault.Unauthenticated:
			e.code = "invalid_client"
		case fault.Unavailable, fault.NoSpace:
			e.code = "temporarily_unavailable"
		case fault.Internal:
			e.code = "server_error"
		}
	}
	writeJSON(w, e.status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{e.code, plain(e.description)})
}

// plain makes of a sentence what error_description may hold (RFC 6749, section
// 5.2): printable ASCII without double quotes and backslashes.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\', r < ' ', r > '~':
			return '?'
		}
		return r
	}, text)
}

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
