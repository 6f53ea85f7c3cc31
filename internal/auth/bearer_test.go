package auth

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dockbell/dockbell/internal/fault"
)

// control is what tokens for the control plane are asked for by.
const control = "https://localhost:5000/"

// newControl returns an Authority that answers for localhost and contoso.example.
func newControl(t testing.TB) *Authority {
	t.Helper()
	a, err := Open(t.Context(), Options{DB: openDB(t), Key: testKey(t), Ours: func(host string) bool {
		name, _, _ := strings.Cut(host, ":")
		return name == "localhost" || name == contoso.Service
	}})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, a, operatorPassword)
	return a
}

func bearerFor(t testing.TB, a *Authority, user, password, resource string) string {
	t.Helper()
	who, err := a.LoginClient(t.Context(), "192.0.2.1:1", user, password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.IssueBearer(who, "https://localhost:5000/adfs", resource)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// authenticateControl sends a request to the control plane.
func authenticateControl(a *Authority, fields ...string) (Principal, error) {
	r := httptest.NewRequest("GET", "/subscriptions", nil)
	for _, f := range fields {
		r.Header.Add("Authorization", f)
	}
	return a.AuthenticateControl(r, contoso)
}

func TestAudiences(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	for resource, want := range map[string]audience{
		"https://localhost:5000/":                forControlPlane,
		"https://localhost:5000":                 forControlPlane,
		"https://localhost":                      forControlPlane,
		"http://localhost:5000/":                 forControlPlane,
		"https://contoso.example/":               forControlPlane,
		"https://containerregistry.azure.net":    forRegistries,
		"https://containerregistry.azure.net/":   forRegistries,
		"https://containerregistry.azure.net/x":  forNothing,
		"https://management.azure.com/":          forNothing,
		"https://fabrikam.example/":              forNothing,
		"https://localhost:5000/x":               forNothing,
		"https://localhost:5000//":               forNothing,
		"https://localhost:5000/?x":              forNothing,
		"https://localhost:5000/#x":              forNothing,
		"https://user@localhost:5000/":           forNothing,
		"ftp://localhost:5000/":                  forNothing,
		"localhost:5000":                         forNothing,
		"//localhost:5000":                       forNothing,
		"":                                       forNothing,
		"/":                                      forNothing,
		"%":                                      forNothing,
		"https://localhost:5000.evil.example/":   forNothing,
		"https://containerregistry.azure.net.x/": forNothing,
	} {
		if got := a.audienceOf(resource); got != want {
			t.Errorf("%q is for %d, want %d", resource, got, want)
		}
	}
}

func TestBearerWireForm(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	p := newProgram(t, a, "ci", "AcrPull")
	who, err := a.LoginClient(t.Context(), "192.0.2.1:1", p.AppID, p.password)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // from 2000-01-01 on
		const begin = 946684800
		token, err := a.IssueBearer(who, "https://localhost:5000/adfs", control)
		if err != nil {
			t.Fatal(err)
		}
		_, payload := decode(t, token)
		var c bearerClaims
		if err := json.Unmarshal([]byte(payload), &c); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"aud":"https://localhost:5000/","iss":"https://localhost:5000/adfs","iat":%d,"nbf":%d,"exp":%d,"appid":"%s","appidacr":"1","idtyp":"app",`+
			`"oid":"%s","sub":"%s","tid":"%s","uti":"%s","ver":"1.0","credential":"%s"}`,
			begin, begin, begin+3600, p.AppID, p.AppID, p.AppID, a.Tenant(), c.ID, who.account.credential())
		if payload != want {
			t.Errorf("got  %s\nwant %s", payload, want)
		}
	})
}

func TestControlPlane(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	p := newProgram(t, a, "ci", "Contributor")
	webhook := strings.ToUpper(contoso.ResourceID) + "/webhooks/deployhook"
	for name, tt := range map[string]struct {
		field, want string
		everywhere  bool
	}{
		"operator":          {basic(operatorName, operatorPassword), "User dockbell", true},
		"operator's token":  {"Bearer " + bearerFor(t, a, operatorName, operatorPassword, control), "User dockbell", true},
		"principal":         {basic(p.AppID, p.password), "Application ci", false},
		"principal's token": {"Bearer " + bearerFor(t, a, p.AppID, p.password, "http://localhost"), "Application ci", false},
	} {
		who, err := authenticateControl(a, tt.field)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := who.Kind() + " " + who.Name(); got != tt.want {
			t.Errorf("%s is %s, want %s", name, got, tt.want)
		}
		if !who.May("Microsoft.ContainerRegistry/registries/webhooks/write", webhook) {
			t.Errorf("%s may not write a webhook", name)
		}
		for _, scope := range []string{fabrikam.ResourceID, "/subscriptions/s", "/"} {
			if who.May("Microsoft.ContainerRegistry/registries/write", scope) != tt.everywhere {
				t.Errorf("%s in %s: %t", name, scope, !tt.everywhere)
			}
		}
	}
	if (Principal{}).May("x/read", "/") || (Principal{}).Name() != "" {
		t.Error("the zero Principal may something")
	}
}

func TestControlPlaneRefuses(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	other := newControl(t) // another installation with the same data key
	p := newProgram(t, a, "ci", "Owner")
	good := bearerFor(t, a, p.AppID, p.password, control)
	header, _, _ := strings.Cut(good, ".")
	const challenge = `Bearer realm="https://contoso.example/oauth2/token",service="contoso.example"`
	const invalid = challenge + `,error="invalid_token"`
	for name, tt := range map[string]struct{ field, challenge string }{
		"nothing":              {"", challenge},
		"wrong password":       {basic(p.AppID, "x"), challenge},
		"no scheme":            {"x", challenge},
		"a token as password":  {basic(TokenUser, good), challenge},
		"signature cut":        {"Bearer " + good[:len(good)-4], invalid},
		"payload changed":      {"Bearer " + strings.Replace(good, ".", ".e", 1), invalid},
		"no algorithm":         {"Bearer " + header + "..", invalid},
		"too long":             {"Bearer " + good + strings.Repeat("A", maxToken), invalid},
		"another audience":     {"Bearer " + bearerFor(t, a, p.AppID, p.password, RegistriesResource), invalid},
		"another installation": {"Bearer " + bearerFor(t, other, operatorName, operatorPassword, control), invalid},
		"access token":         {"Bearer " + issue(t, a, operator, contoso, "repository:x:pull"), invalid},
		"refresh token":        {"Bearer " + issueRefresh(t, a, operator, contoso), invalid},
	} {
		var fields []string
		if tt.field != "" {
			fields = []string{tt.field}
		}
		who, err := authenticateControl(a, fields...)
		if err == nil || who != (Principal{}) {
			t.Errorf("%s: let in as %q", name, who.Name())
			continue
		}
		if got := challengeOf(t, err); got != tt.challenge {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, tt.challenge)
		}
	}
	if _, err := authenticateControl(a, "Bearer "+good); err != nil {
		t.Errorf("the model itself: %v", err)
	}
}

// TestBearerIsNoRegistryToken: the same key signs both.
func TestBearerIsNoRegistryToken(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	for _, resource := range []string{control, RegistriesResource, "https://" + contoso.Service} {
		token := bearerFor(t, a, operatorName, operatorPassword, resource)
		for _, field := range []string{"Bearer " + token, basic(TokenUser, token)} {
			if _, err := authenticate(a, contoso, field); err == nil {
				t.Errorf("a token for %s passes for the registry's", resource)
			}
		}
		if _, err := a.Refresh(t.Context(), contoso, client, token); err == nil {
			t.Errorf("a token for %s passes for a refresh token", resource)
		}
	}
}

// TestSignedButWrongBearer has claims that only a fault in this program, or
// another table of tenants, would sign.
func TestSignedButWrongBearer(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	now := time.Now().Unix()
	good := bearerClaims{
		Audience: control, Tenant: a.Tenant(), NotBefore: now, Expires: now + 60, Type: typeOfProgram, Version: bearerVersion,
		Subject: operatorName, Credential: a.operator.Load().credential(),
	}
	try := func(change func(*bearerClaims)) error {
		c := good
		change(&c)
		token, err := a.keys.sign(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = authenticateControl(a, "Bearer "+token)
		return err
	}
	if err := try(func(*bearerClaims) {}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*bearerClaims){
		"tenant":     func(c *bearerClaims) { c.Tenant = TokenUser },
		"no tenant":  func(c *bearerClaims) { c.Tenant = "" },
		"audience":   func(c *bearerClaims) { c.Audience = "https://management.azure.com/" },
		"type":       func(c *bearerClaims) { c.Type = "user" },
		"version":    func(c *bearerClaims) { c.Version = "" },
		"expired":    func(c *bearerClaims) { c.Expires = now },
		"not yet":    func(c *bearerClaims) { c.NotBefore = now + 120 },
		"subject":    func(c *bearerClaims) { c.Subject = TokenUser },
		"credential": func(c *bearerClaims) { c.Credential = "" },
	} {
		if err := try(change); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBearerEnds(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	p := newProgram(t, a, "ci", "Owner")
	token := bearerFor(t, a, p.AppID, p.password, control)
	id, err := a.Exchange(t.Context(), contoso, client, token)
	if err != nil {
		t.Fatal(err)
	}
	refresh := issueRefresh(t, a, id, contoso)
	_, password, err := a.ResetPassword(t.Context(), p.AppID)
	if err != nil {
		t.Fatal(err)
	}
	ended := func(when, token, refresh string) {
		t.Helper()
		if _, err := authenticateControl(a, "Bearer "+token); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s the token: %v", when, err)
		}
		if _, err := a.Exchange(t.Context(), contoso, client, token); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s exchanging it: %v", when, err)
		}
		if _, err := a.Refresh(t.Context(), contoso, client, refresh); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s the refresh token made of it: %v", when, err)
		}
	}
	ended("after a reset", token, refresh)
	token = bearerFor(t, a, p.AppID, password, control)
	if id, err = a.Exchange(t.Context(), contoso, client, token); err != nil {
		t.Fatal(err)
	}
	refresh = issueRefresh(t, a, id, contoso)
	if err := a.DeletePrincipal(t.Context(), p.AppID); err != nil {
		t.Fatal(err)
	}
	ended("after the deletion", token, refresh)
}

// TestRegistryTokensOnly: a registry can ask for tokens that were made for
// registries.
func TestRegistryTokensOnly(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	p := newProgram(t, a, "ci", "Owner")
	strict := contoso
	strict.RegistryTokensOnly = true
	if _, err := a.Exchange(t.Context(), strict, client, bearerFor(t, a, p.AppID, p.password, control)); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(err.Error(), RegistriesResource+"/.default") {
		t.Errorf("a token for the control plane: %v", err)
	}
	if id, err := a.Exchange(t.Context(), strict, client, bearerFor(t, a, p.AppID, p.password, RegistriesResource)); err != nil || id.Name != "ci" {
		t.Errorf("a token for registries: %q, %v", id.Name, err)
	}
}

// TestExchangeDoesNotProlong: neither a refresh token nor what is made of it
// outlives the bearer token. The operator's, so that no database is asked.
func TestExchangeDoesNotProlong(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	who, err := a.LoginClient(t.Context(), "192.0.2.1:1", operatorName, operatorPassword)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		token, err := a.IssueBearer(who, "https://localhost/adfs", RegistriesResource)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		id, err := a.Exchange(t.Context(), contoso, client, token)
		if err != nil {
			t.Fatal(err)
		}
		refresh := issueRefresh(t, a, id, contoso)
		time.Sleep(BearerTokenLife - time.Minute - time.Second)
		refreshed, err := a.Refresh(t.Context(), contoso, client, refresh)
		if err != nil {
			t.Fatalf("a second before the end: %v", err)
		}
		access := issue(t, a, refreshed, contoso, "repository:x:pull")
		time.Sleep(time.Second)
		if _, err := a.Exchange(t.Context(), contoso, client, token); err == nil {
			t.Error("the bearer token did not expire")
		}
		if _, err := a.Refresh(t.Context(), contoso, client, refresh); err == nil {
			t.Error("the refresh token outlives it")
		}
		if _, err := authenticate(a, contoso, "Bearer "+access); err == nil {
			t.Error("the access token outlives it")
		}
	})
}

func TestPublicKeysVerify(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	encoded, err := json.Marshal(a.PublicKeys())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(encoded), `"d"`) {
		t.Fatalf("a private key is published: %s", encoded)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(encoded, &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSigned(bearerFor(t, a, operatorName, operatorPassword, control), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	keys := set.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("%d keys of that name", len(keys))
	}
	if _, err := jws.Verify(keys[0]); err != nil {
		t.Error(err)
	}
}

func FuzzBearer(f *testing.F) {
	a := newControl(f)
	good := bearerFor(f, a, operatorName, operatorPassword, control)
	for _, s := range []string{good, "a.b.c", good[:len(good)-1], "eyJhbGciOiJub25lIn0.e30.", issue(f, a, operator, contoso, "repository:x:pull")} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		acc, _, _, err := a.bearer(t.Context(), token, forControlPlane)
		if err != nil {
			t.Fatalf("%q: %v", token, err)
		}
		if acc != nil && acc.id != operatorName {
			t.Fatalf("%q stands for %s", token, acc.id)
		}
	})
}

func FuzzAudienceOf(f *testing.F) {
	a := newControl(f)
	for _, s := range []string{control, RegistriesResource, "https://localhost:5000/x", "//", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, resource string) {
		lower := strings.ToLower(resource)
		switch a.audienceOf(resource) {
		case forControlPlane:
			if !strings.Contains(lower, "localhost") && !strings.Contains(lower, contoso.Service) {
				t.Fatalf("%q is for the control plane", resource)
			}
		case forRegistries:
			if strings.TrimSuffix(resource, "/") != RegistriesResource {
				t.Fatalf("%q is for registries", resource)
			}
		}
	})
}
