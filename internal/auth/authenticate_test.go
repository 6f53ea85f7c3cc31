package auth

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	access := issue(t, a, operator, contoso, "repository:team/web:pull")
	refresh := issueRefresh(t, a, operator, contoso)
	anonymous := issue(t, a, Anonymous, contoso, "repository:team/web:pull")
	const plain, badBearer = `Bearer realm="https://contoso.example/oauth2/token",service="contoso.example"`,
		`Bearer realm="https://contoso.example/oauth2/token",service="contoso.example",error="invalid_token"`

	for _, tt := range []struct {
		name   string
		fields []string
		want   string // the identity, or the challenge
	}{
		{"nothing", nil, "anonymous"},
		{"password", []string{basic(operatorName, operatorPassword)}, "dockbell everywhere"},
		{"scheme in another case", []string{"bAsIc" + strings.TrimPrefix(basic(operatorName, operatorPassword), "Basic")}, "dockbell everywhere"},
		{"access token", []string{"Bearer " + access}, "dockbell [repository:team/web:pull]"},
		{"access token as password", []string{basic(TokenUser, access)}, "dockbell [repository:team/web:pull]"},
		{"refresh token as password", []string{basic(TokenUser, refresh)}, "dockbell, all of registry 1"},
		{"anonymous token", []string{"bearer  " + anonymous}, "anonymous []"},

		{"wrong password", []string{basic(operatorName, "wrong")}, plain},
		{"no password", []string{basic(operatorName, "")}, plain},
		{"wrong user", []string{basic("someone", operatorPassword)}, plain},
		{"user in another case", []string{basic("Dockbell", operatorPassword)}, plain},
		{"no user", []string{basic("", "")}, plain},
		{"refresh token as bearer", []string{"Bearer " + refresh}, badBearer},
		{"token of another user name", []string{basic(operatorName, access)}, plain},
		{"no token", []string{basic(TokenUser, "")}, badBearer},
		{"nonsense for a token", []string{"Bearer abc"}, badBearer},
		{"empty", []string{""}, plain},
		{"bearer of nothing", []string{"Bearer "}, plain},
		{"no base64", []string{"Basic ???"}, plain},
		{"no colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("x"))}, plain},
		{"another scheme", []string{"Digest username=x"}, plain},
		{"twice", []string{basic(operatorName, operatorPassword), "Bearer " + access}, plain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, err := authenticate(a, contoso, tt.fields...)
			got := describe(id)
			if err != nil {
				if got != "anonymous" {
					t.Errorf("with an error comes %s", got)
				}
				got = challengeOf(t, err)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	// A token is good for one registry.
	for _, field := range []string{"Bearer " + access, basic(TokenUser, access), basic(TokenUser, refresh)} {
		if _, err := authenticate(a, fabrikam, field); err == nil {
			t.Errorf("%.20s… of contoso is taken by fabrikam", field)
		}
	}
}

// describe says what an identity may do, in words.
func describe(id Identity) string {
	name := id.Name
	if name == "" {
		name = "anonymous"
	}
	switch {
	case id.account != nil && id.Registry == 0 && id.Access == nil:
		return name + " everywhere"
	case id.account != nil && id.Access == nil:
		return fmt.Sprintf("%s, all of registry %d", name, id.Registry)
	case id.Access != nil:
		return fmt.Sprint(name, " ", id.Access)
	}
	return name
}

func TestErrorsTellNoSecret(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, field := range []string{"Basic hunter2", "Bearer hunter2", "Hunter2 x", basic("u", "hunter2"), basic("hunter2", "x")} {
		_, err := authenticate(a, contoso, field)
		if err == nil || strings.Contains(strings.ToLower(fmt.Sprintf("%v %+v", err, fault.As(err))), "hunter2") {
			t.Errorf("%q: %v", field, err)
		}
	}
}

// TestBackoff runs on the Authority's own clock: no database is asked in it.
func TestBackoff(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	const addr = "192.0.2.1:1234"
	login := func(addr, password string) error {
		_, err := a.Login(t.Context(), contoso, addr, operatorName, password)
		return err
	}
	// retry returns the seconds of a 429, 0 for anything else.
	retry := func(t *testing.T, err error) int {
		t.Helper()
		r, ok := err.(interface{ RetryAfter() time.Duration })
		if !ok {
			return 0
		}
		if f := fault.As(err); f.Kind != fault.Unavailable || f.Code != oci.CodeTooManyRequests {
			t.Errorf("fault %v %s", f.Kind, f.Code)
		}
		return int(r.RetryAfter() / time.Second)
	}
	wrong := 0
	fail := func(t *testing.T, addr string) {
		t.Helper()
		wrong++
		if err := login(addr, fmt.Sprint("wrong", wrong)); retry(t, err) != 0 || fault.As(err).Kind != fault.Unauthenticated {
			t.Fatalf("wrong password %d: %v", wrong, err)
		}
	}

	synctest.Test(t, func(t *testing.T) {
		for range 1000 { // a robot with one wrong password
			if err := login(addr, "old"); retry(t, err) != 0 {
				t.Fatal(err)
			}
		}
		for range freeFailures - 2 {
			fail(t, addr)
		}
		if err := login(addr, operatorPassword); err != nil {
			t.Fatal(err) // and the count begins anew
		}
		for range freeFailures {
			fail(t, addr)
		}
		token := issue(t, a, operator, contoso)
		for _, want := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			if got := retry(t, login(addr, operatorPassword)); got != want {
				t.Fatalf("the right password has to wait %d s, want %d", got, want)
			}
			if got := retry(t, login("192.0.2.1:4321", "x")); got != want {
				t.Fatalf("another port has to wait %d s, want %d", got, want)
			}
			if err := login("192.0.2.2:1234", operatorPassword); err != nil {
				t.Fatalf("another address: %v", err)
			}
			if err := retry(t, func() error { _, err := a.Login(t.Context(), contoso, addr, "someone", "x"); return err }()); err != 0 {
				t.Fatal("another user has to wait")
			}
			if _, err := a.Login(t.Context(), contoso, addr, TokenUser, token); err != nil {
				t.Fatalf("a token: %v", err)
			}
			time.Sleep(time.Duration(want)*time.Second - time.Nanosecond)
			if retry(t, login(addr, operatorPassword)) == 0 {
				t.Fatal("let in too early")
			}
			time.Sleep(time.Nanosecond)
			fail(t, addr)
		}
		time.Sleep(failureLife + time.Nanosecond)
		fail(t, addr)
		if err := login(addr, operatorPassword); err != nil {
			t.Fatalf("after a quarter of an hour: %v", err)
		}

		// Of an IPv6 network all addresses count together.
		for i := range freeFailures {
			fail(t, fmt.Sprintf("[2001:db8::%x]:1", i+1))
		}
		if retry(t, login("[2001:db8::ffff]:1", operatorPassword)) == 0 {
			t.Error("another address of the network is let in")
		}
		if err := login("[2001:db8:0:1::1]:1", operatorPassword); err != nil {
			t.Errorf("another network: %v", err)
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		fail := func(client string, n int) {
			for i := range n {
				b.failed(client, "u", [32]byte{byte(i + 1)})
			}
		}
		fail("stale", 2)
		time.Sleep(failureLife)
		fail("guesser", freeFailures+5)
		time.Sleep(time.Nanosecond)
		for i := range 2 * maxFailing {
			fail(fmt.Sprint(i), 1)
		}
		if len(b.failing) != maxFailing {
			t.Errorf("%d records, want %d", len(b.failing), maxFailing)
		}
		if b.wait("guesser", "u") == 0 {
			t.Error("the guesser's record made room for others")
		}
		if b.failing[newFailKey("stale", "u")] != nil {
			t.Error("a record that counts no more was kept")
		}
	})
}

func FuzzParseAuthorization(f *testing.F) {
	for _, s := range []string{"", "Basic", "Basic dTpw", "basic dTpw==", "Bearer x", "Bearer  x ", "Basic " + strings.Repeat("A", 100), "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := parseAuthorization(value)
		if err != nil {
			if got != (authorization{}) {
				t.Fatalf("%q: with an error comes %+v", value, got)
			}
			return
		}
		if got.bearer != "" {
			if strings.HasPrefix(got.bearer, " ") || !strings.Contains(value, got.bearer) {
				t.Fatalf("%q: token %q", value, got.bearer)
			}
			return
		}
		// What the standard library makes of it is the same.
		r := &http.Request{Header: http.Header{"Authorization": {basic(got.user, got.password)}}}
		if user, password, ok := r.BasicAuth(); !ok || user != got.user || password != got.password {
			t.Fatalf("%q: %q and %q, but again %q and %q", value, got.user, got.password, user, password)
		}
	})
}

func FuzzVerify(f *testing.F) {
	a := newAuthority(f)
	good := issue(f, a, operator, contoso, "repository:x:pull")
	want, _ := a.verify(f.Context(), good)
	f.Add(good)
	f.Add("a.b.c")
	f.Add(good[:len(good)-1])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		// Base64 has several forms of the same bytes; they say the same.
		if c, wrong := a.verify(t.Context(), token); wrong == "" && !reflect.DeepEqual(c, want) {
			t.Fatalf("%q became %+v", token, c)
		}
	})
}
