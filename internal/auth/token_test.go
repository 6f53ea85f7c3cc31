package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
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

// decode returns the header and payload of a token as they are.
func decode(t testing.TB, token string) (header, payload string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	var out [2]string
	for i := range out {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(b)
	}
	return out[0], out[1]
}

func TestTokenWireForm(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	credential := a.operator.Load().credential()
	synctest.Test(t, func(t *testing.T) { // from 2000-01-01 on
		const begin = 946684800
		for _, tt := range []struct{ name, token, want string }{
			{
				"access", issue(t, a, operator, contoso, "repository:team/web:pull,push registry:catalog:*"),
				fmt.Sprintf(`{"jti":"ID","sub":"dockbell","nbf":%d,"exp":%d,"iat":%d,"iss":"Azure Container Registry","aud":"contoso.example","version":"1.0","grant_type":"access_token","credential":"%s",`+
					`"access":[{"type":"repository","name":"team/web","actions":["pull","push"]},{"type":"registry","name":"catalog","actions":["*"]}],"roles":[]}`,
					begin, begin+4500, begin, credential),
			},
			{
				"anonymous", issue(t, a, Anonymous, contoso, "repository:team/web:pull"),
				fmt.Sprintf(`{"jti":"ID","sub":"","nbf":%d,"exp":%d,"iat":%d,"iss":"Azure Container Registry","aud":"contoso.example","version":"1.0","grant_type":"access_token","access":[],"roles":[]}`,
					begin, begin+4500, begin),
			},
			{
				"refresh", issueRefresh(t, a, operator, contoso),
				fmt.Sprintf(`{"jti":"ID","sub":"dockbell","nbf":%d,"exp":%d,"iat":%d,"iss":"Azure Container Registry","aud":"contoso.example","version":"1.0","grant_type":"refresh_token","credential":"%s",`+
					`"permissions":{"actions":["read","write","delete"],"notActions":[]},"roles":[]}`,
					begin, begin+10800, begin, credential),
			},
		} {
			header, payload := decode(t, tt.token)
			if want := fmt.Sprintf(`{"alg":"ES256","kid":"%s","typ":"JWT"}`, signing(a).id); header != want {
				t.Errorf("%s: header %s, want %s", tt.name, header, want)
			}
			var c claims
			if err := json.Unmarshal([]byte(payload), &c); err != nil || len(c.ID) != 36 {
				t.Errorf("%s: jti %q, %v", tt.name, c.ID, err)
			}
			if got := strings.Replace(payload, c.ID, "ID", 1); got != tt.want {
				t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
			}
		}
	})
}

func TestTokenLife(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		refresh := issueRefresh(t, a, operator, contoso)
		access := issue(t, a, operator, contoso, "repository:x:pull")
		works := func(field string) bool {
			_, err := authenticate(a, contoso, field)
			return err == nil
		}
		if !works("Bearer "+access) || !works(basic(TokenUser, refresh)) {
			t.Fatal("new tokens do not work")
		}
		time.Sleep(AccessTokenLife - time.Second)
		if !works("Bearer " + access) {
			t.Error("the access token expired early")
		}
		// What is made of a token does not outlive it.
		viaAccess, err := authenticate(a, contoso, "Bearer "+access)
		if err != nil {
			t.Fatal(err)
		}
		prolonged := issue(t, a, viaAccess, contoso, "repository:x:pull")
		time.Sleep(time.Second)
		if works("Bearer "+access) || works("Bearer "+prolonged) {
			t.Error("the access token, or the one made of it, did not expire")
		}
		time.Sleep(RefreshTokenLife - AccessTokenLife - time.Second)
		viaRefresh, err := a.Refresh(t.Context(), contoso, client, refresh)
		if err != nil {
			t.Fatal(err)
		}
		fresh := issue(t, a, viaRefresh, contoso, "repository:x:pull")
		again := issueRefresh(t, a, viaRefresh, contoso)
		if !works("Bearer " + fresh) {
			t.Error("a token from a refresh token does not work")
		}
		time.Sleep(time.Second)
		if works(basic(TokenUser, refresh)) || works(basic(TokenUser, again)) || works("Bearer "+fresh) {
			t.Error("the refresh token, or one made of it, did not expire")
		}
	})
}

func TestIssueGrants(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	puller := Identity{Name: operatorName, account: operator.account, Registry: contoso.ID, Access: []Access{ToRepository("x", Pull, MetadataRead)}}
	for _, tt := range []struct {
		name   string
		id     Identity
		reg    Registry
		scopes string
		want   string
	}{
		{"operator", operator, contoso, "repository:x:pull,push", "[repository:x:pull,push]"},
		{"nothing asked", operator, contoso, "", "[]"},
		{"two and a catalog", operator, contoso, "repository:x:pull repository:y/z:delete registry:catalog:*", "[repository:x:pull repository:y/z:delete registry:catalog:*]"},
		{"everything", operator, contoso, "repository:x:*", "[repository:x:pull,push,delete,metadata_read,metadata_write,deleted_read,deleted_restore]"},
		{"charts", operator, contoso, "artifact-repository:repo:push,pull", "[artifact-repository:repo:pull,push]"},
		{"unknown action and type", operator, contoso, "repository:x:pull,fly repository(plugin):x:pull", "[repository:x:pull]"},
		{"action twice", operator, contoso, "repository:x:pull,pull", "[repository:x:pull]"},
		{"catalog by name", operator, contoso, "registry:catalog:pull", "[]"},
		{"anonymous", Anonymous, contoso, "repository:x:pull registry:catalog:*", "[]"},
		{"from a token, more", puller, contoso, "repository:x:pull,push", "[repository:x:pull]"},
		{"from a token, everything", puller, contoso, "repository:x:*", "[repository:x:pull,metadata_read]"},
		{"from a token, elsewhere", puller, contoso, "repository:y:pull registry:catalog:*", "[]"},
		{"from a token, another registry", puller, fabrikam, "repository:x:pull", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, wrong := a.verify(t.Context(), issue(t, a, tt.id, tt.reg, tt.scopes))
			if wrong != "" || fmt.Sprint(c.Access) != tt.want || c.Access == nil {
				t.Errorf("got %v, want %s", c.Access, tt.want)
			}
		})
	}
	for _, id := range []Identity{Anonymous, puller, {Name: "x"}} {
		if _, err := a.IssueRefresh(id, contoso); err == nil {
			t.Errorf("%s gets a refresh token", describe(id))
		} else {
			challengeOf(t, err)
		}
	}
	owner, err := a.Refresh(t.Context(), contoso, client, issueRefresh(t, a, operator, contoso))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.IssueRefresh(owner, fabrikam); err == nil {
		t.Error("a refresh token of contoso buys one of fabrikam")
	}
}

func TestTokensEndWithPassword(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	a := open(t, db)
	ensure(t, a, operatorPassword)
	fields := []string{
		"Bearer " + issue(t, a, operator, contoso, "repository:x:pull"),
		basic(TokenUser, issueRefresh(t, a, operator, contoso)),
	}
	restarted := open(t, db)
	ensure(t, restarted, "")
	changed := open(t, db)
	ensure(t, changed, "another password")
	renamed := open(t, db)
	if _, _, err := renamed.EnsureOperator(t.Context(), "contoso", operatorPassword); err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if _, err := authenticate(restarted, contoso, f); err != nil {
			t.Errorf("%.8s… does not work after a restart: %v", f, err)
		}
		if _, err := authenticate(changed, contoso, f); err == nil {
			t.Errorf("%.8s… works after the password changed", f)
		}
		if _, err := authenticate(renamed, contoso, f); err == nil {
			t.Errorf("%.8s… works though the operator has another name", f)
		}
	}
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := issue(t, a, operator, contoso, "repository:x:pull")
	header, payload := decode(t, good)
	signature := good[strings.LastIndexByte(good, '.')+1:]
	b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	sign := func(alg jose.SignatureAlgorithm, key any, kid, payload string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := signing(a).public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"payload changed":        b64(header) + "." + b64(strings.Replace(payload, "pull", "push", 1)) + "." + signature,
		"no algorithm":           b64(`{"alg":"none"}`) + "." + b64(payload) + ".",
		"no algorithm, our kid":  b64(`{"alg":"none","kid":"`+signing(a).id+`"}`) + "." + b64(payload) + "." + signature,
		"HMAC by the public key": sign(jose.HS256, point, signing(a).id, payload),
		"another key":            sign(jose.ES256, other, signing(a).id, payload),
		"another key by name":    sign(jose.ES256, other, "other", payload),
		"without a signature":    b64(header) + "." + b64(payload) + ".",
		"of four parts":          good + ".x",
		"too long":               good + strings.Repeat("A", maxToken),
	} {
		if _, err := authenticate(a, contoso, "Bearer "+token); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := authenticate(a, contoso, "Bearer "+good); err != nil {
		t.Errorf("the model itself: %v", err)
	}
}

// TestSignedButWrong has claims that only a fault in this program would sign.
func TestSignedButWrong(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	now := time.Now().Unix()
	good := claims{
		Subject: operatorName, NotBefore: now, Expires: now + 60, Issuer: issuer, Audience: contoso.Service, Version: version,
		GrantType: accessToken, Credential: a.operator.Load().credential(),
	}
	try := func(change func(*claims)) (Identity, error) {
		c := good
		change(&c)
		payload, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signing(a).signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return authenticate(a, contoso, "Bearer "+token)
	}
	id, err := try(func(*claims) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Require(contoso, ToRepository("x", Pull)); err == nil {
		t.Error("an access token without access allows something")
	}
	for name, change := range map[string]func(*claims){
		"issuer":      func(c *claims) { c.Issuer = "someone" },
		"version":     func(c *claims) { c.Version = "2.0" },
		"audience":    func(c *claims) { c.Audience = "" },
		"grant":       func(c *claims) { c.GrantType = "" },
		"credential":  func(c *claims) { c.Credential = "" },
		"expired":     func(c *claims) { c.Expires = now },
		"not yet":     func(c *claims) { c.NotBefore = now + 120 },
		"no expiry":   func(c *claims) { c.Expires = 0 },
		"other owner": func(c *claims) { c.Subject = "someone" },
	} {
		if _, err := try(change); fault.As(err).Kind != fault.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := try(func(c *claims) { c.NotBefore = now + 30 }); err != nil {
		t.Errorf("a node's clock that is half a minute ahead: %v", err)
	}
}

func TestTokenCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cache tokenCache
		sum := func(i int) (s [32]byte) { s[0], s[1] = byte(i), byte(i>>8); return s }
		for i := range 3 * maxKnownTokens {
			cache.put(sum(i), &claims{}, "k", time.Now())
			if len(cache.known) > maxKnownTokens {
				t.Fatalf("%d tokens are kept", len(cache.known))
			}
		}
		cache.put(sum(1), &claims{ID: "x"}, "k", time.Now())
		set := keySet{{id: "k"}}
		if c := cache.get(sum(1), time.Now(), set); c == nil || c.ID != "x" {
			t.Error("a token is not found")
		}
		if c := cache.get(sum(1), time.Now().Add(knownTokenLife), set); c != nil {
			t.Error("a token is kept beyond its time")
		}
		if c := cache.get(sum(1), time.Now(), keySet{{id: "another"}}); c != nil {
			t.Error("a token is good whose key is gone")
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	a := newAuthority(b)
	for name, field := range map[string]string{
		"bearer":   "Bearer " + issue(b, a, operator, contoso, "repository:team/web:pull,push"),
		"password": basic(operatorName, operatorPassword),
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/v2/", nil)
			r.Header.Set("Authorization", field)
			for b.Loop() {
				if _, err := a.Authenticate(r, contoso); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
