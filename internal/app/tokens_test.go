package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerregistry/armcontainerregistry"
)

// as gives a request a user name and a password.
func as(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

// TestAzureSDKTokens has Azure's own client make scope maps and tokens, whose
// passwords then pull and push.
func TestAzureSDKTokens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, clients := startForSDK(t)
	maps, tokens, registries := clients.NewScopeMapsClient(), clients.NewTokensClient(), clients.NewRegistriesClient()
	const group, name = "dockbell", "dockbell"
	s.push("team/web", "v1")

	made := finish[armcontainerregistry.ScopeMapsClientCreateResponse](t)(maps.BeginCreate(ctx, group, name, "team-pull", armcontainerregistry.ScopeMap{
		Properties: &armcontainerregistry.ScopeMapProperties{Description: new("what ci may"), Actions: []*string{new("repositories/team/*/content/read")}},
	}, nil))
	if *made.Name != "team-pull" || *made.Properties.Type != "UserDefined" || *made.SystemData.CreatedBy != s.Operator() || made.Properties.CreationDate.IsZero() {
		t.Errorf("made %+v", made)
	}
	if got, err := maps.Get(ctx, group, name, "TEAM-pull", nil); err != nil || *got.Properties.Description != "what ci may" || len(got.Properties.Actions) != 1 {
		t.Error(got, err)
	}
	if got, err := maps.Get(ctx, group, name, "_repositories_admin", nil); err != nil || *got.Properties.Type != "SystemDefined" || len(got.Properties.Actions) != 5 {
		t.Error(got, err)
	}
	if n := count(t, maps.NewListPager(group, name, nil), func(p armcontainerregistry.ScopeMapsClientListResponse) int { return len(p.Value) }); n != 6 {
		t.Errorf("%d scope maps", n)
	}

	_, err := tokens.BeginCreate(ctx, group, name, "ci-pull", armcontainerregistry.Token{Properties: &armcontainerregistry.TokenProperties{ScopeMapID: new(*made.ID + "s")}}, nil)
	if code(err) != "400 ScopeMapNotFound" {
		t.Errorf("with a scope map that is not there: %v", err)
	}
	token := finish[armcontainerregistry.TokensClientCreateResponse](t)(tokens.BeginCreate(ctx, group, name, "ci-pull", armcontainerregistry.Token{
		Properties: &armcontainerregistry.TokenProperties{ScopeMapID: made.ID},
	}, nil))
	if *token.Properties.Status != armcontainerregistry.TokenStatusEnabled || *token.Properties.ScopeMapID != *made.ID || len(token.Properties.Credentials.Passwords) != 0 {
		t.Errorf("made %+v", token)
	}
	generate := func(name *armcontainerregistry.TokenPasswordName, expiry *time.Time) armcontainerregistry.RegistriesClientGenerateCredentialsResponse {
		t.Helper()
		return finish[armcontainerregistry.RegistriesClientGenerateCredentialsResponse](t)(registries.BeginGenerateCredentials(ctx, group, "dockbell",
			armcontainerregistry.GenerateCredentialsParameters{TokenID: token.ID, Name: name, Expiry: expiry}, nil))
	}
	both := generate(nil, nil)
	if *both.Username != "ci-pull" || len(both.Passwords) != 2 || both.Passwords[0].Expiry != nil || both.Passwords[0].CreationTime.IsZero() {
		t.Fatalf("generated %+v", both)
	}
	expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	second := generate(new(armcontainerregistry.TokenPasswordNamePassword2), &expiry)
	if len(second.Passwords) != 1 || *second.Passwords[0].Name != armcontainerregistry.TokenPasswordNamePassword2 || !second.Passwords[0].Expiry.Equal(expiry) {
		t.Errorf("generated %+v", second)
	}

	status := func(want int, method, path, password string) {
		t.Helper()
		if got, _, answer := s.do(method, path, []byte("{}"), as("ci-pull", password)); got != want {
			t.Errorf("%s %s: %d %s", method, path, got, answer)
		}
	}
	first := *both.Passwords[0].Value
	for password, want := range map[string]int{first: http.StatusOK, *second.Passwords[0].Value: http.StatusOK, *both.Passwords[1].Value: http.StatusUnauthorized} {
		status(want, "GET", "/v2/team/web/manifests/v1", password)
	}
	status(http.StatusUnauthorized, "PUT", "/v2/team/web/manifests/v2", first)
	status(http.StatusUnauthorized, "GET", "/v2/_catalog", first)
	status(http.StatusUnauthorized, "GET", "/api/v1/registries/dockbell", first)
	finish[armcontainerregistry.ScopeMapsClientUpdateResponse](t)(maps.BeginUpdate(ctx, group, name, "team-pull", armcontainerregistry.ScopeMapUpdateParameters{
		Properties: &armcontainerregistry.ScopeMapPropertiesUpdateParameters{Actions: []*string{new("repositories/team/*/content/read"), new("repositories/team/*/content/write")}},
	}, nil))
	s.push("team/web", "v2", as("ci-pull", first))

	updated := finish[armcontainerregistry.TokensClientUpdateResponse](t)(tokens.BeginUpdate(ctx, group, name, "ci-pull", armcontainerregistry.TokenUpdateParameters{
		Properties: &armcontainerregistry.TokenUpdateProperties{Credentials: &armcontainerregistry.TokenCredentialsProperties{
			Passwords: []*armcontainerregistry.TokenPassword{{Name: new(armcontainerregistry.TokenPasswordNamePassword1)}},
		}},
	}, nil))
	if len(updated.Properties.Credentials.Passwords) != 1 || updated.Properties.Credentials.Passwords[0].Value != nil {
		t.Errorf("updated %+v", updated)
	}
	status(http.StatusUnauthorized, "GET", "/v2/team/web/manifests/v1", *second.Passwords[0].Value)
	// What was read can be put back, and changes nothing.
	got, err := tokens.Get(ctx, group, name, "ci-pull", nil)
	if err != nil {
		t.Fatal(err)
	}
	finish[armcontainerregistry.TokensClientCreateResponse](t)(tokens.BeginCreate(ctx, group, name, "ci-pull", got.Token, nil))
	status(http.StatusOK, "GET", "/v2/team/web/manifests/v1", first)

	if n := count(t, tokens.NewListPager(group, name, nil), func(p armcontainerregistry.TokensClientListResponse) int { return len(p.Value) }); n != 1 {
		t.Errorf("%d tokens", n)
	}
	if _, err := maps.BeginDelete(ctx, group, name, "team-pull", nil); code(err) != "409 ScopeMapInUse" {
		t.Errorf("a scope map in use: %v", err)
	}
	finish[armcontainerregistry.TokensClientDeleteResponse](t)(tokens.BeginDelete(ctx, group, name, "ci-pull", nil))
	finish[armcontainerregistry.ScopeMapsClientDeleteResponse](t)(maps.BeginDelete(ctx, group, name, "team-pull", nil))
	status(http.StatusUnauthorized, "GET", "/v2/team/web/manifests/v1", first)
	for what, err := range map[string]error{"token": failure(tokens.Get(ctx, group, name, "ci-pull", nil)), "scope map": failure(maps.Get(ctx, group, name, "team-pull", nil))} {
		if code(err) != "404 ResourceNotFound" {
			t.Errorf("%s after it was deleted: %v", what, err)
		}
	}
}

func failure[T any](_ T, err error) error { return err }

// TestAnonymousPull has a client without credentials do what docker does, before
// anonymous pull is switched on, while it is, and after.
func TestAnonymousPull(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.push("team/web", "v1")
	set := func(on bool) {
		t.Helper()
		body := fmt.Appendf(nil, `{"properties":{"anonymousPullEnabled":%t}}`, on)
		if status, _, answer := s.do("PATCH", "/api/v1/registries/dockbell", body, s.asOperator); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
	}
	// service asks the token service for what a challenge says.
	service := func(scope string) func(*http.Request) {
		t.Helper()
		_, header, _ := s.do("GET", "/v2/", nil)
		_, after, _ := strings.Cut(header.Get("WWW-Authenticate"), `service="`)
		name, _, _ := strings.Cut(after, `"`)
		status, token := s.form("/oauth2/token", "access_token", "grant_type", "password", "service", name, "scope", scope, "refresh_token", "")
		if status != http.StatusOK || token == "" {
			t.Fatalf("token for %s: %d", scope, status)
		}
		return field("Authorization", "Bearer "+token)
	}
	const manifest, all = "/v2/team/web/manifests/v1", "repository:team/web:* registry:catalog:*"
	tries := []struct{ method, path, scope string }{
		{"GET", manifest, "repository:team/web:pull"},
		{"HEAD", manifest, all},
		{"GET", "/v2/team/web/tags/list", all},
		{"GET", "/v2/_catalog", "registry:catalog:*"},
		{"GET", "/v2/", all},
	}
	never := []struct{ method, path, scope string }{
		{"PUT", "/v2/team/web/manifests/v2", all}, {"POST", "/v2/team/web/blobs/uploads/", all}, {"DELETE", manifest, all},
		{"GET", manifest, "repository:team/api:pull"}, {"GET", "/api/v1/registries", all}, {"GET", "/api/v1/registries/dockbell", all},
	}
	expect := func(when string, want int, with func(*http.Request), method, path string) {
		t.Helper()
		if got, header, answer := s.do(method, path, []byte("{}"), with); got != want || got == http.StatusUnauthorized && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %s %s: %d %s", when, method, path, got, answer)
		}
	}
	nobody := func(*http.Request) {}
	given := service(all) // before it is on
	for _, try := range tries {
		expect("off", http.StatusUnauthorized, service(try.scope), try.method, try.path)
	}
	set(true)
	expect("a token from before", http.StatusUnauthorized, given, "GET", manifest)
	for _, try := range tries {
		expect("without a token", http.StatusUnauthorized, nobody, try.method, try.path)
		expect("with empty credentials", http.StatusUnauthorized, as("", ""), try.method, try.path)
		expect("on", http.StatusOK, service(try.scope), try.method, try.path)
	}
	given = service(all)
	for _, try := range never {
		expect("on, and not for anyone", http.StatusUnauthorized, service(try.scope), try.method, try.path)
	}
	if status, _, answer := s.do("GET", "/oauth2/token?scope="+url.QueryEscape(all), nil, as("", "")); status != http.StatusUnauthorized {
		t.Errorf("a token for empty credentials: %d %s", status, answer)
	}
	// Another registry of the server is not open.
	if status, _, answer := s.do("PUT", "/api/v1/registries/contoso", []byte(`{"location":"local","sku":{"name":"Premium"}}`), s.asOperator); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	s.push("team/web", "v1", host("contoso.dockbell.localhost"))
	expect("another registry", http.StatusUnauthorized, func(r *http.Request) { given(r); host("contoso.dockbell.localhost")(r) }, "GET", manifest)
	set(false)
	for _, try := range tries {
		expect("off again", http.StatusUnauthorized, given, try.method, try.path)
	}
	set(true)
	expect("on again", http.StatusOK, given, "GET", manifest)
}
