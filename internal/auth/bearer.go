package auth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/fault"
)

// BearerTokenLife is how long a token of the identity authority is good for.
// Azure's tools fetch a new one when less than five minutes are left.
const BearerTokenLife = time.Hour

// RegistriesResource is the resource whose tokens every registry takes in
// exchange for its own, and which are good for nothing else.
const RegistriesResource = "https://containerregistry.azure.net"

// audience says what a bearer token is good for.
type audience uint8

const (
	forNothing audience = iota
	forControlPlane
	forRegistries
)

// audienceOf reads the resource that a token is for: the control plane's address
// under any name of this installation, or RegistriesResource.
func (a *Authority) audienceOf(resource string) audience {
	if strings.TrimSuffix(resource, "/") == RegistriesResource {
		return forRegistries
	}
	u, err := url.Parse(resource)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !a.ours(u.Host) {
		return forNothing
	}
	if u.Path = strings.TrimSuffix(u.Path, "/"); *u != (url.URL{Scheme: u.Scheme, Host: u.Host}) {
		return forNothing
	}
	return forControlPlane
}

// Principal is who makes a request to the control plane. The zero Principal may
// nothing.
type Principal struct{ account *account }

// Name returns the operator's user name, or the display name of a service
// principal.
func (p Principal) Name() string {
	if p.account == nil {
		return ""
	}
	return p.account.name
}

// Kind returns what ARM's systemData calls it: User for the operator,
// Application for a service principal.
func (p Principal) Kind() string {
	if p.account != nil {
		return string(p.account.kind)
	}
	return string(User)
}

// May reports whether the principal may do an action, such as
// Microsoft.ContainerRegistry/registries/webhooks/read, at a scope: the ARM id of
// a subscription, a resource group, a registry or what lies below it. Case does
// not matter in either.
func (p Principal) May(action, scope string) bool {
	return p.account != nil && p.account.rights.control(action, scope)
}

// AuthenticateControl returns who makes a request to the control plane. It takes
// Basic (user name and password) and Bearer (a token of the identity authority
// for the control plane). Errors as Authenticate; so fails also a request without
// credentials. door is what the challenge tells of.
func (a *Authority) AuthenticateControl(r *http.Request, door Registry) (Principal, error) {
	given, ok, err := credentials(r)
	if err != nil {
		return Principal{}, unauthenticated(door, noProblem, err.Error())
	}
	var acc *account
	switch {
	case !ok:
		return Principal{}, Anonymous.Require(door)
	case given.bearer != "":
		var wrong Cause
		acc, _, wrong, err = a.bearer(r.Context(), given.bearer, forControlPlane)
		if err == nil && acc == nil {
			a.failed(Failure{Client: r.RemoteAddr, Cause: wrong})
			err = unauthenticated(door, invalidToken,
				"the token is not valid in the control plane: it has expired, or is for something else, or its password has changed; log in again, for example with az login")
		}
	default:
		acc, err = a.check(r.Context(), 0, r.RemoteAddr, given.user, given.password)
		err = challenged(door, noProblem, err)
	}
	return Principal{acc}, err
}

// LoginClient returns who has that id and secret: a service principal's appId and
// password, or the operator's. It fails with fault.Unauthenticated, with
// fault.Unavailable and a method RetryAfter() time.Duration, or with what the
// database says. client is as for Login.
func (a *Authority) LoginClient(ctx context.Context, client, id, secret string) (Principal, error) {
	acc, err := a.check(ctx, 0, client, id, secret)
	return Principal{acc}, err
}

// bearerClaims is the payload of a bearer token, with the members that Azure's
// have, and the credential.
type bearerClaims struct {
	Audience   string `json:"aud"` // the resource, as it was asked for
	Issuer     string `json:"iss"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	AppID      string `json:"appid"`
	AppIDProof string `json:"appidacr"` // how the client proved who it is
	Type       string `json:"idtyp"`
	Object     string `json:"oid"`
	Subject    string `json:"sub"`
	Tenant     string `json:"tid"`
	ID         string `json:"uti"`
	Version    string `json:"ver"`
	Credential string `json:"credential"`
}

const (
	provedBySecret = "1"
	typeOfProgram  = "app"
	bearerVersion  = "1.0"
)

// IssueBearer returns a token that stands for the principal towards a resource,
// for BearerTokenLife. issuer is the authority's URL as the client sees it. A
// resource that is not of this installation fails with fault.Invalid.
func (a *Authority) IssueBearer(p Principal, issuer, resource string) (string, error) {
	if p.account == nil {
		return "", fault.New(fault.Unauthenticated, "nobody is logged in")
	}
	if a.audienceOf(resource) == forNothing {
		return "", fault.New(fault.Invalid, "no token is given for the resource %.200q: ask for this server's own address, as https://HOST/.default, or for %s/.default",
			resource, RegistriesResource)
	}
	now := time.Now()
	id := p.account.id
	return a.keys.sign(bearerClaims{
		Audience: resource, Issuer: issuer, Tenant: a.tenant,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(BearerTokenLife).Unix(),
		AppID: id, Object: id, Subject: id, AppIDProof: provedBySecret, Type: typeOfProgram,
		ID: uuid.NewString(), Version: bearerVersion, Credential: p.account.credential(),
	})
}

// bearer returns whom a bearer token stands for, and until when; or what is wrong
// with it, if it is not one of this installation, good now and for one of the
// audiences.
func (a *Authority) bearer(ctx context.Context, token string, wanted ...audience) (acc *account, expires time.Time, wrong Cause, err error) {
	if len(token) > maxToken {
		return nil, time.Time{}, ForgedToken, nil
	}
	var c bearerClaims
	_, wrong = a.keys.open(ctx, token, &c)
	switch {
	case wrong != "":
		return nil, time.Time{}, wrong, nil
	case c.Tenant != a.tenant, c.Type != typeOfProgram, c.Version != bearerVersion, !slices.Contains(wanted, a.audienceOf(c.Audience)):
		return nil, time.Time{}, MisusedToken, nil
	case !goodAt(time.Now(), c.NotBefore, c.Expires):
		return nil, time.Time{}, ExpiredToken, nil
	}
	acc, err = a.accountOf(ctx, 0, c.Subject, c.Credential)
	if err != nil || acc == nil {
		return nil, time.Time{}, EndedToken, err
	}
	return acc, time.Unix(c.Expires, 0), "", nil
}
