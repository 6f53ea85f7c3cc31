package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// fakeTime runs f with a clock of its own, on which nothing takes time.
func fakeTime(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceEnabled {
		t.Skip("fake time and the race detector crash Go 1.26 together: run go test ./internal/auth without -race")
	}
	synctest.Test(t, f)
}

// node opens an Authority whose keys live for life, with the operator, and keeps
// its keys until the test ends.
func node(t *testing.T, db *sqldb.DB, life time.Duration) *Authority {
	t.Helper()
	a, err := Open(t.Context(), Options{DB: db, Key: testKey(t), SigningKeyLife: life, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, a, operatorPassword)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.KeepSigningKeys(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return a
}

// published returns the ids of the JWK set.
func published(t testing.TB, a *Authority) (ids []string) {
	t.Helper()
	encoded, err := json.Marshal(a.PublicKeys())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(encoded, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || !k.Valid() || k.Algorithm != "ES256" {
			t.Errorf("key %s: not a public key of ES256", k.KeyID)
		}
		ids = append(ids, k.KeyID)
	}
	return ids
}

// stored returns the rows of the keys.
func stored(t testing.TB, db *sqldb.DB) (rows []keyRow) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *sqldb.Tx) (err error) {
		rows, err = selectSigningKeys(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func works(a *Authority, field string) bool {
	_, err := authenticate(a, contoso, field)
	return err == nil
}

// TestKeysFollowEachOther lives through a rotation on two nodes: what was signed
// before is good until it expires, the next key is published before it signs, and
// the old one goes when nothing it signed is left.
func TestKeysFollowEachOther(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		db := openDB(t)
		a, b := node(t, db, MinSigningKeyLife), node(t, db, MinSigningKeyLife)
		first := signing(a).id
		time.Sleep(MinSigningKeyLife - time.Minute)
		synctest.Wait()
		if ids := published(t, a); len(ids) != 1 {
			t.Fatalf("%d keys before the first is old", len(ids))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		ids := published(t, a)
		if len(ids) != 2 || !slices.Equal(ids, published(t, b)) || signing(a).id != first || signing(b).id != first {
			t.Fatalf("keys %v and %v, signing %s, want two of which the first, %s, signs", ids, published(t, b), signing(a).id, first)
		}
		var old []string // signed last by the first key
		for signing(a).id == first {
			old = []string{"Bearer " + issue(t, a, operator, contoso, "repository:x:pull"), basic(TokenUser, issueRefresh(t, a, operator, contoso))}
			time.Sleep(time.Second)
		}
		if signing(a).id != ids[1] {
			t.Fatalf("then signs %s, want %s", signing(a).id, ids[1])
		}
		fresh := "Bearer " + issue(t, a, operator, contoso, "repository:x:pull")
		for _, field := range append(old, fresh) {
			if !works(a, field) || !works(b, field) {
				t.Errorf("%.12s… does not work", field)
			}
		}
		time.Sleep(RefreshTokenLife - 2*time.Second)
		if !works(a, old[1]) || !works(b, old[1]) || works(a, old[0]) {
			t.Error("the tokens of the first key did not live as long as they should")
		}
		time.Sleep(2 * time.Second)
		if works(a, old[1]) {
			t.Error("a refresh token did not expire")
		}
		if !slices.Contains(published(t, a), first) {
			t.Error("the first key went before what late clocks take for good had expired")
		}
		time.Sleep(2*clockSkew + readKeysEvery)
		synctest.Wait()
		for _, row := range stored(t, db) {
			if row.id == first {
				t.Error("the first key is still in the database")
			}
		}
		if slices.Contains(published(t, b), first) || b.keys.set().find(first) != nil {
			t.Error("the first key is still known")
		}
		time.Sleep(10 * MinSigningKeyLife)
		synctest.Wait()
		if n := len(stored(t, db)); n < 3 || n > 6 {
			t.Errorf("%d keys after ten rotations, want those of the last hours", n)
		}
	})
}

// TestRevokedKeys: after a revocation nothing counts that was signed before, on no
// node, also where it was checked just before; what is signed afterwards does.
func TestRevokedKeys(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		db := openDB(t)
		a, b := node(t, db, 0), node(t, db, 0)
		time.Sleep(time.Hour)
		if _, made, err := a.RotateSigningKey(t.Context(), false); err != nil || !made { // one that waits goes as well
			t.Fatal(made, err)
		}
		time.Sleep(time.Minute)
		old := []string{"Bearer " + issue(t, b, operator, contoso, "repository:x:pull"), basic(TokenUser, issueRefresh(t, b, operator, contoso))}
		for _, field := range old {
			if !works(a, field) || !works(b, field) {
				t.Fatalf("%.12s… does not work at first", field)
			}
		}
		key, made, err := a.RotateSigningKey(t.Context(), true)
		if err != nil || !made || key.State != KeySigning {
			t.Fatal(key, made, err)
		}
		for _, field := range old {
			if works(a, field) {
				t.Errorf("%.12s… works after the revocation", field)
			}
		}
		// A token of the new key tells the other node, which looks once a second.
		time.Sleep(askKeysEvery)
		if !works(b, "Bearer "+issue(t, a, operator, contoso, "repository:x:pull")) {
			t.Error("the other node refuses a token of the new key")
		}
		for _, field := range old {
			if works(b, field) {
				t.Errorf("%.12s… works on the other node", field)
			}
		}
		if rows := stored(t, db); len(rows) != 1 || rows[0].id != key.ID {
			t.Errorf("%d keys are left", len(rows))
		}

		// So does the time.
		old = []string{"Bearer " + issue(t, b, operator, contoso, "repository:x:pull")}
		if _, _, err := a.RotateSigningKey(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(readKeysEvery + time.Second)
		if works(b, old[0]) {
			t.Error("a token of a revoked key works on the other node after the promised time")
		}
	})
}

// TestStrangersDoNotCostReads: tokens of made-up keys make a node look into the
// database once in a while, not each.
func TestStrangersDoNotCostReads(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		a := newAuthority(t)
		other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		token := signed(t, jose.ES256, other, "made up", `{}`, nil)
		read := func() time.Time {
			a.keys.mu.Lock()
			defer a.keys.mu.Unlock()
			return a.keys.read
		}
		looks, last := 0, read()
		for range 100 {
			time.Sleep(askKeysEvery / 10)
			works(a, "Bearer "+token)
			if at := read(); !at.Equal(last) {
				looks, last = looks+1, at
			}
		}
		if looks < 9 || looks > 11 {
			t.Errorf("%d looks in ten seconds, want one a second", looks)
		}
	})
}

// TestRotationsRace has nodes rotate together: it comes to one key, known to all.
func TestRotationsRace(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, openDB func() *sqldb.DB) {
		db := openDB()
		var nodes []*Authority
		for range 4 {
			a := open(t, db)
			ensure(t, a, operatorPassword)
			nodes = append(nodes, a)
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		made := 0
		for _, a := range nodes {
			all.Go(func() {
				_, ok, err := a.RotateSigningKey(context.Background(), false)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if ok {
					made++
				}
			})
		}
		all.Wait()
		rows := stored(t, db)
		if made != 1 || len(rows) != 2 {
			t.Fatalf("%d nodes made a key, there are %d; want 1 and 2", made, len(rows))
		}
		for _, a := range nodes {
			keys, err := a.SigningKeys(t.Context())
			if err != nil || len(keys) != 2 || keys[0].State != KeySigning || keys[1].State != KeyNext || keys[1].ID != rows[1].id {
				t.Errorf("%+v, %v", keys, err)
			}
			if !keys[0].VerifiesUntil.Equal(keys[1].SignsFrom.Add(longestLife)) || !keys[1].VerifiesUntil.IsZero() {
				t.Errorf("the first verifies until %s, the second until %s", keys[0].VerifiesUntil, keys[1].VerifiesUntil)
			}
		}
		for _, row := range rows {
			if _, err := x509.ParsePKCS8PrivateKey(row.private); err == nil || bytes.Contains(row.private, []byte("\x2a\x86\x48\xce\x3d")) {
				t.Errorf("the private half of %s is not sealed", row.id)
			}
			if plain, err := testKey(t).Open(row.private, keyPurpose(row.id)); err != nil {
				t.Error(err)
			} else if _, err := parseSigningKey(plain); err != nil {
				t.Error(err)
			}
		}
		// A start in the middle of it finds the same.
		if again := open(t, db); !slices.Equal(published(t, again), published(t, nodes[0])) {
			t.Error("a node that starts later knows other keys")
		}
	})
}

// TestKeyOfEarlierVersions: the row that versions with one key made is the first
// key of the set.
func TestKeyOfEarlierVersions(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	private, err := newSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseSigningKey(private)
	if err != nil {
		t.Fatal(err)
	}
	made := time.Now().Add(-100 * 24 * time.Hour)
	err = db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		return insertSigningKey(tx, keyRow{"1", testKey(t).Seal(private, "signing key 1"), made, made})
	})
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, db)
	a.keys.log = slog.New(slog.DiscardHandler)
	if signing(a).id != key.id {
		t.Errorf("signs with %s, want %s", signing(a).id, key.id)
	}
	if err := a.keys.upkeep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if rows := stored(t, db); len(rows) != 2 || rows[0].id != "1" {
		t.Errorf("it is not followed: %d keys", len(rows))
	}
}

// signed returns a token whose header says what it is told to.
func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, kid, payload string, options *jose.SignerOptions) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, options)
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

// TestKeysInHeaders has headers that bring or point to a key of their own.
func TestKeysInHeaders(t *testing.T) {
	t.Parallel()
	a := newControl(t)
	_, payload := decode(t, issue(t, a, operator, contoso, "repository:x:pull"))
	_, controlPayload := decode(t, bearerFor(t, a, operatorName, operatorPassword, control))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := jose.JSONWebKey{Key: signing(a).public, KeyID: signing(a).id, Algorithm: "ES256"}
	encoded, err := public.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(signing(a).public)
	if err != nil {
		t.Fatal(err)
	}
	kid := signing(a).id
	embedded := &jose.SignerOptions{EmbedJWK: true}
	pointing := (&jose.SignerOptions{}).WithHeader("jku", "https://attacker.example/keys").WithHeader("x5u", "https://attacker.example/cert")
	for _, payload := range []string{payload, controlPayload} {
		for name, token := range map[string]string{
			"an embedded key":                   signed(t, jose.ES256, other, "", payload, embedded),
			"an embedded key under our id":      signed(t, jose.ES256, other, kid, payload, embedded),
			"a key elsewhere under our id":      signed(t, jose.ES256, other, kid, payload, pointing),
			"a key elsewhere":                   signed(t, jose.ES256, other, "other", payload, pointing),
			"no id":                             signed(t, jose.ES256, other, "", payload, nil),
			"a path for an id":                  signed(t, jose.ES256, other, "../../dev/null", payload, nil),
			"another curve":                     signed(t, jose.ES384, wide, kid, payload, nil),
			"HMAC by the public key in JSON":    signed(t, jose.HS256, encoded, kid, payload, nil),
			"HMAC by the public key in DER":     signed(t, jose.HS256, der, kid, payload, nil),
			"an unknown header that is crucial": signed(t, jose.ES256, other, kid, payload, (&jose.SignerOptions{}).WithHeader("crit", []string{"exp"})),
		} {
			if works(a, "Bearer "+token) {
				t.Errorf("%s: taken by a registry", name)
			}
			if _, err := authenticateControl(a, "Bearer "+token); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: in the control plane %v", name, err)
			}
		}
	}
	// Our own key under a header that it did not sign with is refused for the
	// header alone.
	private, err := testKey(t).Open(stored(t, a.db)[0].private, keyPurpose(kid))
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if !works(a, "Bearer "+signed(t, jose.ES256, own, kid, payload, nil)) {
		t.Error("the model itself is refused")
	}
	if works(a, "Bearer "+signed(t, jose.ES256, own, kid, payload, embedded)) {
		t.Error("a token that brings its key is taken")
	}
}

// TestFailures compares what is told of logins that are refused.
func TestFailures(t *testing.T) {
	t.Parallel()
	var told []Failure
	a, err := Open(t.Context(), Options{
		DB: openDB(t), Key: testKey(t), Ours: func(string) bool { return true }, Failed: func(f Failure) { told = append(told, f) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, a, operatorPassword)
	p := newProgram(t, a, "ci", "Owner")
	const unknown = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
	access, refresh := issue(t, a, operator, contoso, "repository:x:pull"), issueRefresh(t, a, operator, contoso)
	ofControl := bearerFor(t, a, operatorName, operatorPassword, control)
	forged := access[:len(access)-4] + "AAAA"
	registry := func(field string) func() {
		return func() { authenticate(a, contoso, field) }
	}
	plane := func(field string) func() { return func() { authenticateControl(a, field) } }
	ended := newProgram(t, a, "ended", "Owner")
	ofEnded := bearerFor(t, a, ended.AppID, ended.password, control)
	if err := a.DeletePrincipal(t.Context(), ended.AppID); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		do   func()
		want []Failure
	}{
		"no credentials":               {registry("Bearer"), nil},
		"right":                        {registry(basic(operatorName, operatorPassword)), nil},
		"operator":                     {registry(basic(operatorName, "wrong")), []Failure{{Registry: 1, User: operatorName, Kind: User, Cause: WrongPassword}}},
		"in the control plane":         {plane(basic(operatorName, "wrong")), []Failure{{User: operatorName, Kind: User, Cause: WrongPassword}}},
		"a password for a user name":   {registry(basic("correct horse battery", "")), []Failure{{Registry: 1, Cause: WrongPassword}}},
		"service principal":            {plane(basic(p.AppID, "wrong")), []Failure{{User: p.AppID, Kind: Application, Cause: WrongPassword}}},
		"no such service principal":    {plane(basic(unknown, "wrong")), []Failure{{User: unknown, Kind: Application, Cause: WrongPassword}}},
		"forged":                       {registry("Bearer " + forged), []Failure{{Registry: 1, Cause: ForgedToken}}},
		"forged, as a password":        {registry(basic(TokenUser, forged)), []Failure{{Registry: 1, Cause: ForgedToken}}},
		"no token at all":              {registry("Bearer x"), []Failure{{Registry: 1, Cause: ForgedToken}}},
		"another registry's":           {func() { authenticate(a, fabrikam, "Bearer "+access) }, []Failure{{Registry: 2, Cause: MisusedToken}}},
		"of the control plane":         {registry("Bearer " + ofControl), []Failure{{Registry: 1, Cause: MisusedToken}}},
		"in the control plane, forged": {plane("Bearer " + forged), []Failure{{Cause: ForgedToken}}},
		"a registry's":                 {plane("Bearer " + access), []Failure{{Cause: MisusedToken}}},
		"refresh, right":               {registry(basic(TokenUser, refresh)), nil},
		"refresh as access":            {registry("Bearer " + refresh), []Failure{{Registry: 1, Cause: MisusedToken}}},
		"exchange, right":              {func() { a.Exchange(t.Context(), contoso, client, ofControl) }, nil},
		"exchange":                     {func() { a.Exchange(t.Context(), contoso, client, access) }, []Failure{{Registry: 1, Cause: MisusedToken}}},
		"ended":                        {plane("Bearer " + ofEnded), nil},
	} {
		told = nil
		x.do()
		for i := range told {
			if told[i].Client != "192.0.2.1:1234" && told[i].Client != client { // httptest's, and ours
				t.Errorf("%s: client %q", name, told[i].Client)
			}
			told[i].Client = ""
			if told[i].Kind == Nobody {
				told[i].Kind = "" // not repeated in the table
			}
		}
		if !slices.Equal(told, x.want) {
			t.Errorf("%s: told %+v, want %+v", name, told, x.want)
		}
	}
	for i := range freeFailures + 1 {
		told = nil
		authenticate(a, contoso, basic("contoso", base64.StdEncoding.EncodeToString([]byte{byte(i)})))
	}
	if len(told) != 1 || told[0].Cause != LockedOut || told[0].User != "" {
		t.Errorf("locked out: %+v", told)
	}
}

// TestExpiredIsNoFailure: also when its key is long gone.
func TestExpiredIsNoFailure(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		var told []Failure
		db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "dockbell.db")})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		a, err := Open(t.Context(), Options{DB: db, Key: testKey(t), Failed: func(f Failure) { told = append(told, f) }})
		if err != nil {
			t.Fatal(err)
		}
		ensure(t, a, operatorPassword)
		token := issue(t, a, operator, contoso, "repository:x:pull")
		time.Sleep(AccessTokenLife)
		if works(a, "Bearer "+token) || told != nil {
			t.Errorf("told %+v", told)
		}
		if _, _, err := a.RotateSigningKey(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if works(a, "Bearer "+token) || told != nil {
			t.Errorf("of a key that is gone: told %+v", told)
		}
	})
}

// FuzzMutatedToken changes a good token in one place: it is refused, or says what
// it said.
func FuzzMutatedToken(f *testing.F) {
	a := newControl(f)
	good := issue(f, a, operator, contoso, "repository:x:pull")
	ofControl := bearerFor(f, a, operatorName, operatorPassword, control)
	want, _ := a.verify(f.Context(), good)
	f.Add(uint(3), "A", uint(1), false)
	f.Add(uint(len(good)-1), "", uint(1), false)
	f.Add(uint(40), ".", uint(0), true)
	f.Fuzz(func(t *testing.T, at uint, text string, drop uint, bearer bool) {
		token := good
		if bearer {
			token = ofControl
		}
		begin := int(at % uint(len(token)))
		end := begin + int(drop%uint(len(token)-begin+1))
		token = token[:begin] + text + token[end:]
		if bearer {
			if acc, _, wrong, err := a.bearer(t.Context(), token, forControlPlane); err != nil || acc != nil && acc.id != operatorName || (acc == nil) == (wrong == "") {
				t.Fatalf("%q: %v, %q, %v", token, acc, wrong, err)
			}
			return
		}
		if c, wrong := a.verify(t.Context(), token); wrong == "" && !reflect.DeepEqual(c, want) {
			t.Fatalf("%q became %+v", token, c)
		}
	})
}
