package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// mapOf makes a scope map in contoso, or another one of the one there is.
func mapOf(t testing.TB, tokens *RepositoryTokens, name string, actions ...string) {
	t.Helper()
	for i := range actions {
		actions[i] = "repositories/" + actions[i]
	}
	if _, _, err := tokens.PutScopeMap(t.Context(), small, name, "", actions, ada); err != nil {
		t.Fatal(err)
	}
}

// newToken makes a token of contoso and returns its passwords.
func newToken(t testing.TB, tokens *RepositoryTokens, name, scopeMap string) []string {
	t.Helper()
	if _, _, err := tokens.PutToken(t.Context(), small, name, TokenChange{ScopeMap: &scopeMap}, ada); err != nil {
		t.Fatal(err)
	}
	return generate(t, tokens, name, "")
}

func generate(t testing.TB, tokens *RepositoryTokens, name, password string) (values []string) {
	t.Helper()
	_, made, err := tokens.GenerateCredentials(t.Context(), small, name, password, time.Time{}, ada)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range made {
		values = append(values, p.Value)
	}
	return values
}

func patch(t testing.TB, tokens *RepositoryTokens, name string, change TokenChange) {
	t.Helper()
	if _, err := tokens.PatchToken(t.Context(), small, name, change, ada); err != nil {
		t.Fatal(err)
	}
}

// TestRepositoryTokenEnds has a password of a token, and the tokens that were had
// with it, used on one node while another changes what it is worth.
func TestRepositoryTokenEnds(t *testing.T) {
	t.Parallel()
	pull := []Access{ToRepository("team/web", Pull)}
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		var nodes [2]*Authority
		for i := range nodes {
			var err error
			if nodes[i], err = Open(t.Context(), Options{DB: db, Key: testKey(t)}); err != nil {
				t.Fatal(err)
			}
		}
		used, tokens := nodes[0], nodes[1].RepositoryTokens()

		// uses are the ways to use a password; each is empty, or why it is refused.
		type uses struct{ fields [3]string }
		log := func(password string) (u uses) {
			t.Helper()
			id, err := used.Login(t.Context(), contoso, "192.0.2.1:1", "CI-pull", password)
			if err != nil || id.Name != "CI-pull" || id.Registry != contoso.ID {
				t.Fatalf("login: %+v, %v", id, err)
			}
			u.fields = [3]string{
				basic("CI-pull", password),
				"Bearer " + issue(t, used, id, contoso, "repository:team/web:pull"),
				basic(TokenUser, issueRefresh(t, used, id, contoso)),
			}
			return u
		}
		works := func(u uses) (n int) {
			t.Helper()
			for _, field := range u.fields {
				id, err := authenticate(used, contoso, field)
				if err == nil {
					err = id.Require(contoso, pull...)
				}
				switch {
				case err == nil:
					n++
				case !fault.Is(err, fault.Unauthenticated):
					t.Error(err)
				}
			}
			return n
		}
		expect := func(what string, u uses, all bool) {
			t.Helper()
			want := 0
			if all {
				want = len(u.fields)
			}
			if n := works(u); n != want {
				t.Errorf("%s: %d of %d work, not %d", what, n, len(u.fields), want)
			}
		}

		mapOf(t, tokens, "team-pull", "team/*/content/read")
		values := newToken(t, tokens, "CI-pull", "Team-Pull")
		if len(values) != 2 || values[0] == values[1] || len(values[0]) != 40 {
			t.Fatalf("passwords %q", values)
		}
		first, second := log(values[0]), log(values[1])
		expect("the first password", first, true)
		expect("the second password", second, true)

		// Its map becomes another.
		mapOf(t, tokens, "team-pull", "teams/web/content/read")
		expect("when the map names another repository", first, false)
		mapOf(t, tokens, "team-pull", "team/web/content/read", "other/content/write")
		expect("when it names the repository again", first, true)
		patch(t, tokens, "ci-pull", TokenChange{ScopeMap: new("_repositories_admin")})
		expect("with a built-in map", second, true)
		mapOf(t, tokens, "writers", "*/content/write")
		patch(t, tokens, "ci-pull", TokenChange{ScopeMap: new("writers")})
		expect("with a map that has no reading", first, false)
		patch(t, tokens, "ci-pull", TokenChange{ScopeMap: new("team-pull")})
		expect("with its first map again", first, true)

		patch(t, tokens, "ci-pull", TokenChange{Status: new("Disabled")})
		expect("disabled", first, false)
		patch(t, tokens, "ci-pull", TokenChange{Status: new("enabled")})
		expect("enabled again", first, true)

		// One password is made anew, the other stays.
		renewed := generate(t, tokens, "ci-PULL", "Password1")
		expect("the first, made anew", first, false)
		expect("the other", second, true)
		first = log(renewed[0])
		patch(t, tokens, "ci-pull", TokenChange{Keep: []TokenPassword{{Name: "password1"}}})
		expect("the second, removed", second, false)
		expect("the first, kept", first, true)

		// It expires: the clock is the database's row.
		_, made, err := tokens.GenerateCredentials(t.Context(), small, "ci-pull", "password2", time.Now().Add(time.Hour), ada)
		if err != nil || len(made) != 1 || made[0].Name != "password2" {
			t.Fatalf("%+v, %v", made, err)
		}
		second = log(made[0].Value)
		expect("before it expires", second, true)
		err = db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("UPDATE repository_token_password SET expires_at = $1 WHERE name = 'password2'", time.Now().Add(-time.Second).UnixNano())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		expect("when it has expired", second, false)
		expect("the other one", first, true)

		// Deleted, and another of that name is another.
		if err := tokens.DeleteToken(t.Context(), small, "ci-pull"); err != nil {
			t.Fatal(err)
		}
		expect("deleted", first, false)
		newToken(t, tokens, "CI-pull", "_repositories_pull")
		expect("when another has the name", first, false)

		// Its database has no password, and listings neither.
		var stored []byte
		err = db.Read(t.Context(), func(tx *sqldb.Tx) error {
			return tx.Get("SELECT password FROM repository_token_password WHERE name = 'password1'", nil, &stored)
		})
		if err != nil || len(stored) != 32 || bytes.Contains(stored, []byte(values[0])) {
			t.Errorf("stored is %q, %v", stored, err)
		}
	})
}

// TestTokensOutliveNoPassword has what is made of a password end with it.
func TestTokensOutliveNoPassword(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	tokens := a.RepositoryTokens()
	newToken(t, tokens, "ci-pull", "_repositories_pull")
	end := time.Now().Add(20 * time.Minute)
	_, made, err := tokens.GenerateCredentials(t.Context(), small, "ci-pull", "password1", end, ada)
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Login(t.Context(), contoso, "192.0.2.1:1", "ci-pull", made[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	refresh := issueRefresh(t, a, id, contoso)
	refreshed, err := authenticate(a, contoso, basic(TokenUser, refresh))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{refresh, issue(t, a, id, contoso, "repository:x:pull"), issue(t, a, refreshed, contoso, "repository:x:pull"), issueRefresh(t, a, refreshed, contoso)} {
		_, payload := decode(t, token)
		var c claims
		if err := json.Unmarshal([]byte(payload), &c); err != nil || c.Expires > end.Unix() || c.Expires < end.Unix()-1 {
			t.Errorf("%s until %d, the password until %d, %v", c.GrantType, c.Expires, end.Unix(), err)
		}
	}
}

// TestRightsOfATokenInARegistry has what each map gives of everything that can be
// asked for.
func TestRightsOfATokenInARegistry(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	tokens := a.RepositoryTokens()
	const all = "repository:team/web:* repository:team:* repository:teams/web:* registry:catalog:* registry:deleted_catalog:* artifact-repository:repo:*"
	mapOf(t, tokens, "changing")
	password := newToken(t, tokens, "ci-pull", "changing")[0]
	for actions, want := range map[string]string{
		"team/*/content/read":                        "[repository:team/web:pull]",
		"team/web/content/write":                     "[repository:team/web:push]",
		"team/content/delete":                        "[repository:team:delete]",
		"team/web/metadata/read":                     "[repository:team/web:metadata_read]",
		"*/metadata/write":                           "[repository:team/web:metadata_write repository:team:metadata_write repository:teams/web:metadata_write]",
		"team/*/content/read teams/web/content/read": "[repository:team/web:pull repository:teams/web:pull]",
		"team/web/content/read */content/write":      "[repository:team/web:pull,push repository:team:push repository:teams/web:push]",
		"":                                           "[]",
		"catalog/content/read":                       "[]",
		"repo/content/read":                          "[]",
	} {
		mapOf(t, tokens, "changing", strings.Fields(actions)...)
		id, err := a.Login(t.Context(), contoso, "192.0.2.1:1", "ci-pull", password)
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := ParseScopes([]string{all})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(grant(id, contoso, wanted)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", actions, got, want)
		}
		if got := grant(id, fabrikam, wanted); len(got) > 0 {
			t.Errorf("%s: in another registry %v", actions, got)
		}
		if _, err := a.IssueRefresh(id, contoso); (actions != "") != (err == nil) || (actions != "") != (id.Require(contoso) == nil) {
			t.Errorf("%s: a refresh token: %v; a ping: %v", actions, err, id.Require(contoso))
		}
		if id.mayPullAll(contoso) {
			t.Errorf("%s: may pull everything", actions)
		}
		if err := id.Require(contoso, Catalog); err == nil {
			t.Errorf("%s: may list the catalog", actions)
		}
	}
	mapOf(t, tokens, "changing", "*/content/read")
	id, err := a.Login(t.Context(), contoso, "192.0.2.1:1", "ci-pull", password)
	if err != nil || !id.mayPullAll(contoso) || id.mayPullAll(fabrikam) {
		t.Errorf("may not pull everything, %v", err)
	}
	narrow, err := authenticate(a, contoso, "Bearer "+issue(t, a, id, contoso, "repository:x:pull,push"))
	if err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"the token of ci-pull does not allow repository:y:pull: get one for that scope":      narrow.Require(contoso, ToRepository("y", Pull)),
		"the scope map of ci-pull does not allow repository:x:push in registry contoso":      narrow.Require(contoso, ToRepository("x", Push)),
		"the scope map of ci-pull does not allow repository:x:pull,push in registry contoso": id.Require(contoso, ToRepository("x", Pull, Push)),
		"the scope map of ci-pull does not allow registry:catalog:* in registry contoso":     id.Require(contoso, Catalog),
	} {
		if err == nil || err.Error() != "authentication required: "+want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// TestRepositoryTokensLogInNowhereElse has the names and passwords of a token be
// worth nothing where it does not belong.
func TestRepositoryTokensLogInNowhereElse(t *testing.T) {
	t.Parallel()
	a, err := Open(t.Context(), Options{DB: openDB(t), Key: testKey(t), Ours: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, a, operatorPassword)
	tokens := a.RepositoryTokens()
	password := newToken(t, tokens, "ci-push", "_repositories_admin")[0]
	id, err := a.Login(t.Context(), contoso, "192.0.2.1:1", "ci-push", password)
	if err != nil {
		t.Fatal(err)
	}
	refresh := issueRefresh(t, a, id, contoso)
	_, elsewhere := a.Login(t.Context(), fabrikam, "192.0.2.1:1", "ci-push", password)
	_, authority := a.LoginClient(t.Context(), "192.0.2.1:1", "ci-push", password)
	_, otherCase := a.Login(t.Context(), contoso, "192.0.2.1:1", "CI-push", password)
	_, otherName := a.Login(t.Context(), contoso, "192.0.2.1:1", operatorName, password)
	_, empty := a.Login(t.Context(), contoso, "192.0.2.1:1", "ci-push", "")
	for what, err := range map[string]error{
		"another registry": elsewhere, "the identity authority": authority,
		"another case of the name": otherCase, "the operator's name": otherName, "no password": empty,
	} {
		if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, field := range []string{basic("ci-push", password), "Bearer " + refresh, "Bearer " + issue(t, a, id, contoso, "repository:x:pull")} {
		if who, err := authenticateControl(a, field); !fault.Is(err, fault.Unauthenticated) || who.May(pullRead, contoso.ResourceID) {
			t.Errorf("the control plane takes %.12s…: %v", field, err)
		}
	}
}

func TestRepositoryTokensOfARegistry(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx := t.Context()
		a, err := Open(ctx, Options{DB: open(), Key: testKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		ensure(t, a, operatorPassword)
		tokens := a.RepositoryTokens()
		mapOf(t, tokens, "Team-Pull", "team/*/content/read")
		token, created, err := tokens.PutToken(ctx, small, "CI-pull", TokenChange{ScopeMap: new("TEAM-PULL")}, ada)
		if err != nil || !created || token.Name != "CI-pull" || token.ScopeMap != "Team-Pull" || !token.Enabled || len(token.Passwords) != 0 {
			t.Fatalf("%+v, created %t, %v", token, created, err)
		}
		at := time.Now().Add(24 * time.Hour)
		bob := Actor{"bob", "Application"}
		after, made, err := tokens.GenerateCredentials(ctx, small, "ci-pull", "", at, bob)
		if err != nil || len(made) != 2 || made[0].Name != "password1" || made[1].Name != "password2" || !made[0].ExpiresAt.Equal(at) ||
			len(after.Passwords) != 2 || after.CreatedBy != ada || after.UpdatedBy != bob {
			t.Fatalf("%+v %+v, %v", after, made, err)
		}
		got, err := tokens.Token(ctx, small, "ci-PULL")
		if err != nil || fmt.Sprint(got) != fmt.Sprint(after) || !got.Passwords[1].ExpiresAt.Equal(at) || got.Passwords[0].CreatedAt.IsZero() {
			t.Errorf("there is %+v, %v", got, err)
		}

		// A PUT that says nothing of passwords keeps them; one that names some keeps those.
		got, created, err = tokens.PutToken(ctx, small, "ci-pull", TokenChange{ScopeMap: new("_repositories_push"), Status: new("disabled")}, bob)
		if err != nil || created || len(got.Passwords) != 2 || got.Enabled || got.Status() != "disabled" || got.ScopeMap != "_repositories_push" || got.Name != "CI-pull" {
			t.Errorf("replaced: %+v, %v", got, err)
		}
		got, _, err = tokens.PutToken(ctx, small, "ci-pull", TokenChange{ScopeMap: new("team-pull"), Keep: got.Passwords}, bob)
		if err != nil || len(got.Passwords) != 2 || !got.Enabled {
			t.Errorf("replaced with what was read: %+v, %v", got, err)
		}
		got, err = tokens.PatchToken(ctx, small, "ci-pull", TokenChange{Keep: []TokenPassword{{Name: "PASSWORD2"}}}, bob)
		if err != nil || len(got.Passwords) != 1 || got.Passwords[0].Name != "password2" {
			t.Errorf("the first removed: %+v, %v", got, err)
		}
		again, err := tokens.Token(ctx, small, "ci-pull")
		if err != nil || fmt.Sprint(again) != fmt.Sprint(got) {
			t.Errorf("there is %+v, %v, not %+v", again, err, got)
		}

		// What breaks a rule changes nothing.
		invalid := func(code string, err error) {
			t.Helper()
			if !fault.Is(err, fault.Invalid) || fault.As(err).Code != code {
				t.Errorf("want %s: %v", code, err)
			}
		}
		for _, name := range []string{"", "abcd", strings.Repeat("a", 51), "ci_pull", "ci pull", "ci/pull", "ci.pull", "dockbell", "Contoso", TokenUser, "7f1e0d0a-7a0e-4d4c-9a0e-0123456789ab"} {
			_, _, err := tokens.PutToken(ctx, small, name, TokenChange{ScopeMap: new("team-pull")}, ada)
			invalid("InvalidResourceName", err)
		}
		invalid("ScopeMapRequired", third(tokens.PutToken(ctx, small, "other-one", TokenChange{}, ada)))
		invalid("ScopeMapNotFound", third(tokens.PutToken(ctx, small, "other-one", TokenChange{ScopeMap: new("nothere")}, ada)))
		invalid("InvalidParameter", third(tokens.PutToken(ctx, small, "other-one", TokenChange{ScopeMap: new("team-pull"), Status: new("on")}, ada)))
		invalid("InvalidParameter", third(tokens.PutToken(ctx, small, "other-one", TokenChange{ScopeMap: new("team-pull"), Keep: []TokenPassword{{Name: "password1"}}}, ada)))
		invalid("ScopeMapNotFound", second(tokens.PatchToken(ctx, small, "ci-pull", TokenChange{ScopeMap: new("")}, ada)))
		invalid("InvalidParameter", second(tokens.PatchToken(ctx, small, "ci-pull", TokenChange{Keep: []TokenPassword{{Name: "password1"}}}, ada)))
		invalid("InvalidParameter", second(tokens.PatchToken(ctx, small, "ci-pull", TokenChange{Keep: []TokenPassword{{Name: "password2", ExpiresAt: at.Add(time.Hour)}}}, ada)))
		for _, bad := range []struct {
			name    string
			expires time.Time
		}{
			{"password3", time.Time{}}, {"", time.Now().Add(-time.Second)}, {"password1", time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)},
		} {
			invalid("InvalidParameter", third(tokens.GenerateCredentials(ctx, small, "ci-pull", bad.name, bad.expires, ada)))
		}
		again, err = tokens.Token(ctx, small, "ci-pull")
		if err != nil || fmt.Sprint(again) != fmt.Sprint(got) {
			t.Errorf("refusals left %+v, %v", again, err)
		}
		elsewhere := TokenRegistry{ID: fabrikam.ID, Name: "fabrikam", Limit: 3}
		for _, err := range []error{
			second(tokens.Token(ctx, elsewhere, "ci-pull")), second(tokens.Token(ctx, small, "a\x00\xff")), tokens.DeleteToken(ctx, small, "nothere"),
			second(tokens.PatchToken(ctx, small, "nothere", TokenChange{}, ada)), third(tokens.GenerateCredentials(ctx, small, "nothere", "", time.Time{}, ada)),
		} {
			if !fault.Is(err, fault.NotFound) || fault.As(err).Code != "ResourceNotFound" {
				t.Errorf("what is not there: %v", err)
			}
		}

		// The limit, and pages.
		newToken(t, tokens, "a-token", "_repositories_pull")
		newToken(t, tokens, "Z-token", "_repositories_pull")
		_, _, err = tokens.PutToken(ctx, small, "one-more", TokenChange{ScopeMap: new("_repositories_pull")}, ada)
		if !fault.Is(err, fault.Quota) || fault.As(err).Code != "QuotaExceeded" || !strings.Contains(err.Error(), "3 of 3 tokens") {
			t.Errorf("beyond the limit: %v", err)
		}
		var names []string
		place := ""
		for {
			page, next, err := tokens.Tokens(ctx, small, place, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range page {
				names = append(names, fmt.Sprint(token.Name, len(token.Passwords)))
			}
			if place = next; next == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != "a-token2 CI-pull1 Z-token2" {
			t.Errorf("the list: %s", got)
		}
		if err := tokens.Purge(ctx, small.ID); err != nil {
			t.Fatal(err)
		}
		if maps, n, err := tokens.Usage(ctx, small.ID); maps != 0 || n != 0 || err != nil {
			t.Errorf("after a purge: %d, %d, %v", maps, n, err)
		}
		if found, err := a.accounts(ctx, small.ID, "a-token"); len(found) != 0 || err != nil {
			t.Errorf("after a purge: %v, %v", found, err)
		}
	})
}

// TestTokensAtTheLimit has many tokens made at once: no more than the limit are.
func TestTokensAtTheLimit(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		a, err := Open(t.Context(), Options{DB: open(), Key: testKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		tokens := a.RepositoryTokens()
		errs := make(chan error)
		for i := range 8 {
			go func() {
				errs <- third(tokens.PutToken(t.Context(), small, fmt.Sprintf("token-%d", i), TokenChange{ScopeMap: new("_repositories_pull")}, ada))
			}()
		}
		made := 0
		for range 8 {
			switch err := <-errs; {
			case err == nil:
				made++
			case !fault.Is(err, fault.Quota):
				t.Error(err)
			}
		}
		if _, n, err := tokens.Usage(t.Context(), small.ID); made != small.Limit || n != small.Limit || err != nil {
			t.Errorf("%d were made and %d are there, %v", made, n, err)
		}
	})
}

func third[T, U any](_ T, _ U, err error) error { return err }

// TestAnonymousPull has a caller without credentials be challenged, be given a
// token, and pull with that while the registry has anonymous pull.
func TestAnonymousPull(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	open, openToo := contoso, fabrikam
	open.AnonymousPull, openToo.AnonymousPull = true, true
	const all = "repository:team/web:* registry:catalog:* registry:deleted_catalog:* artifact-repository:repo:*"

	if id, err := authenticate(a, open); err != nil || id.Name != "" {
		t.Fatalf("%+v, %v", id, err)
	}
	for _, wanted := range [][]Access{nil, {ToRepository("team/web", Pull)}, {Catalog}} {
		err := Anonymous.Require(open, wanted...)
		if c := challengeOf(t, err); !strings.HasPrefix(c, `Bearer realm="https://contoso.example/oauth2/token"`) || strings.Contains(c, "error=") {
			t.Errorf("challenge %s", c)
		}
	}
	if _, err := a.IssueRefresh(Anonymous, open); err == nil {
		t.Error("a refresh token for anyone")
	}
	token := issue(t, a, Anonymous, open, all)
	id, err := authenticate(a, open, "Bearer "+token)
	if err != nil || fmt.Sprint(id.Access) != "[repository:team/web:pull,metadata_read registry:catalog:*]" || id.Name != "" {
		t.Fatalf("%+v, %v", id, err)
	}
	allowed := []Access{ToRepository("team/web", Pull), ToRepository("team/web", MetadataRead), Catalog}
	for _, w := range allowed {
		if err := id.Require(open, w); err != nil {
			t.Errorf("%s: %v", w, err)
		}
	}
	if err := id.Require(open); err != nil {
		t.Errorf("a ping: %v", err)
	}
	refused := []Access{
		ToRepository("team/web", Pull, Push), ToRepository("team/web", Delete), ToRepository("team/web", MetadataWrite), ToRepository("team/web", DeletedRead),
		ToRepository("other", Pull), {TypeRegistry, "deleted_catalog", []string{All}}, {TypeArtifactRepository, "repo", []string{Pull}},
	}
	for _, w := range refused {
		if c := challengeOf(t, id.Require(open, w)); !strings.HasSuffix(c, `,error="insufficient_scope"`) {
			t.Errorf("%s: %s", w, c)
		}
	}
	if _, err := a.IssueRefresh(id, open); err == nil {
		t.Error("a refresh token for an anonymous token")
	}
	if id.mayPullAll(open) {
		t.Error("anyone may mount from everywhere")
	}
	if _, err := authenticate(a, openToo, "Bearer "+token); err == nil {
		t.Error("another registry takes the token")
	}
	for _, registry := range []Registry{openToo, fabrikam} {
		if err := id.Require(registry, allowed[0]); err == nil {
			t.Error("it counts in another registry")
		}
	}

	// Switched off, it is worth nothing, as those are that were given meanwhile.
	for _, field := range []string{"Bearer " + token, "Bearer " + issue(t, a, Anonymous, contoso, all), basic(TokenUser, token)} {
		id, err := authenticate(a, contoso, field)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range slices.Concat(allowed, refused) {
			if err := id.Require(contoso, w); err == nil {
				t.Errorf("switched off, %s is allowed", w)
			}
		}
		if id.Require(contoso) == nil {
			t.Error("switched off, a ping is answered")
		}
	}

	// Empty credentials are wrong ones.
	for _, field := range []string{basic("", ""), basic(TokenUser, ""), "Bearer "} {
		if _, err := authenticate(a, open, field); err == nil || fault.As(err).Code != oci.CodeUnauthorized {
			t.Errorf("%q: %v", field, err)
		}
	}
	// Who has an account has the rights of that.
	p := newProgram(t, a, "deleter", "AcrDelete")
	if err := identityOf(t, a, p).Require(open, allowed[0]); err == nil {
		t.Error("an account that may not pull pulls where anyone may")
	}
}
