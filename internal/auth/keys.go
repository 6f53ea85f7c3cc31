package auth

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The keys that sign tokens follow each other. A key is published first, and signs
// keyLead later, when every node knows it. Then the one before it signs no more,
// and still verifies until whatever it signed has expired; then it is deleted. A
// revocation skips all that: one key is made that signs at once, and every other is
// deleted, with which the tokens end that they signed.

// MinSigningKeyLife is the shortest time after which a key may be replaced.
const MinSigningKeyLife = time.Hour

const (
	defaultKeyLife = 90 * 24 * time.Hour

	// keyLead is how long a key is published before it signs. It exceeds by far
	// what nodes need to learn of it, clockSkew included.
	keyLead = 5 * time.Minute

	// readKeysEvery is how often a node looks whether another has made or revoked
	// a key: so long a revoked key can go on counting there.
	readKeysEvery = 10 * time.Second

	// askKeysEvery bounds how often tokens of unknown keys make a node look.
	askKeysEvery = time.Second

	// readKeysTime is how long one look may take.
	readKeysTime = 5 * time.Second

	// replaceKeysEvery is how often a key that cannot be made is tried again.
	replaceKeysEvery = time.Minute

	// longestLife is how long after a key's last signature what it signed can be
	// good, as other nodes' clocks have it.
	longestLife = max(RefreshTokenLife, AccessTokenLife, BearerTokenLife) + 2*clockSkew
)

// The states of a signing key.
const (
	KeyNext      = "next"      // published, does not sign yet
	KeySigning   = "signing"   // signs, and verifies
	KeyVerifying = "verifying" // verifies what it signed
)

// SigningKey is what everyone may know of a key that signs tokens.
type SigningKey struct {
	ID        string // its JWK thumbprint (RFC 7638): kid in tokens
	State     string // KeyNext, KeySigning or KeyVerifying
	CreatedAt time.Time
	SignsFrom time.Time

	// VerifiesUntil is when everything that it signed has expired, and it is
	// deleted; zero while no other is to follow it.
	VerifiesUntil time.Time
}

// signingKey is a key that signs tokens.
type signingKey struct {
	id                   string // its JWK thumbprint
	row                  string // id in the database, which for the oldest there ever was is another
	public               *ecdsa.PublicKey
	signer               jose.Signer
	createdAt, signsFrom time.Time
}

// keySet is the keys whose signatures count, in the order in which they sign. It
// is never changed.
type keySet []*signingKey

// find returns the key of that id, or nil.
func (r keySet) find(id string) *signingKey {
	for _, k := range r {
		if k.id == id {
			return k
		}
	}
	return nil
}

// signing returns the key that signs at a moment.
func (r keySet) signing(now time.Time) *signingKey {
	for _, k := range slices.Backward(r) {
		if !k.signsFrom.After(now) {
			return k
		}
	}
	return r[0] // a clock is late
}

// verifiesUntil returns until when key i of the set is needed; zero for the last.
func (r keySet) verifiesUntil(i int) time.Time {
	if i == len(r)-1 {
		return time.Time{}
	}
	return r[i+1].signsFrom.Add(longestLife)
}

// signingKeys is the keys of an installation, as this node knows them.
type signingKeys struct {
	db   *sqldb.DB
	seal *seal.Key
	log  *slog.Logger
	life time.Duration

	known atomic.Pointer[keySet]

	mu   sync.Mutex // held while they are read, so that the last to be read count
	read time.Time  // when they were last; under mu
}

// openSigningKeys reads the keys, making the first one if there is none.
func openSigningKeys(ctx context.Context, opts Options) (*signingKeys, error) {
	k := &signingKeys{db: opts.DB, seal: opts.Key, log: cmp.Or(opts.Log, slog.Default()), life: cmp.Or(opts.SigningKeyLife, defaultKeyLife)}
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	if len(k.set()) > 0 {
		return k, nil // writing only where there is a need lets a server start on a full disk
	}
	if _, err := k.make(ctx, func(rows []keyRow, now time.Time) (time.Time, bool) { return now, len(rows) == 0 }, false); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *signingKeys) set() keySet { return *k.known.Load() }

// load reads the keys from the database.
func (k *signingKeys) load(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loadLocked(ctx)
}

func (k *signingKeys) loadLocked(ctx context.Context) error {
	k.read = time.Now()
	var rows []keyRow
	err := k.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		rows, err = selectSigningKeys(tx)
		return err
	})
	if err != nil {
		return err
	}
	var old keySet
	if p := k.known.Load(); p != nil {
		old = *p
	}
	set := make(keySet, 0, len(rows))
	for _, row := range rows {
		i := slices.IndexFunc(old, func(key *signingKey) bool { return key.row == row.id && key.signsFrom.Equal(row.signsFrom) })
		if i >= 0 {
			set = append(set, old[i])
			continue
		}
		private, err := k.seal.Open(row.private, keyPurpose(row.id))
		if err != nil {
			return err
		}
		key, err := parseSigningKey(private)
		if err != nil {
			return err
		}
		key.row, key.createdAt, key.signsFrom = row.id, row.createdAt, row.signsFrom
		set = append(set, key)
	}
	if len(set) == 0 && len(old) > 0 {
		return fmt.Errorf("auth: the database has lost its signing keys: restart the server to make one")
	}
	k.known.Store(&set)
	return nil
}

// find returns the key of that id. One that is not known may be another node's, so
// the database is asked, but not for each token that a stranger makes up.
func (k *signingKeys) find(ctx context.Context, id string) *signingKey {
	if key := k.set().find(id); key != nil {
		return key
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.set().find(id); key != nil || time.Since(k.read) < askKeysEvery {
		return key
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readKeysTime)
	defer cancel()
	if err := k.loadLocked(ctx); err != nil {
		k.log.Error("the keys that sign tokens cannot be read: a token of an unknown key is refused", "error", err)
	}
	return k.set().find(id)
}

// make makes a key, if when says so of the keys there are, sealed: from which
// moment on it signs. With alone, all others are deleted. Of several nodes that
// make one at the same time, the first decides what the others see.
func (k *signingKeys) make(ctx context.Context, when func(rows []keyRow, now time.Time) (time.Time, bool), alone bool) (made bool, err error) {
	private, err := newSigningKey()
	if err != nil {
		return false, err
	}
	key, err := parseSigningKey(private)
	if err != nil {
		return false, err
	}
	err = k.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		made = false
		if err := tx.Serialise(); err != nil {
			return err
		}
		rows, err := selectSigningKeys(tx)
		if err != nil {
			return err
		}
		signsFrom, wanted := when(rows, tx.Now())
		if !wanted {
			return nil
		}
		if alone {
			for _, row := range rows {
				if err := deleteSigningKey(tx, row.id); err != nil {
					return err
				}
			}
		}
		made = true
		return insertSigningKey(tx, keyRow{key.id, k.seal.Seal(private, keyPurpose(key.id)), tx.Now(), signsFrom})
	})
	if err != nil {
		return false, err
	}
	return made, k.load(ctx)
}

// follow is when a key is made that is to follow the newest: not while that one
// waits itself, and with a life other than 0 not before it is that old.
func follow(life time.Duration) func([]keyRow, time.Time) (time.Time, bool) {
	return func(rows []keyRow, now time.Time) (time.Time, bool) {
		newest := rows[len(rows)-1]
		return now.Add(keyLead), !newest.signsFrom.After(now) && now.Sub(newest.createdAt) >= life
	}
}

// atOnce is when a key is made that is to sign from now on.
func atOnce(_ []keyRow, now time.Time) (time.Time, bool) { return now, true }

// retire deletes the keys whose every token has expired.
func (k *signingKeys) retire(ctx context.Context) error {
	err := k.db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		if err := tx.Serialise(); err != nil {
			return err
		}
		rows, err := selectSigningKeys(tx)
		if err != nil {
			return err
		}
		for i := 1; i < len(rows) && tx.Now().After(rows[i].signsFrom.Add(longestLife)); i++ {
			if err := deleteSigningKey(tx, rows[i-1].id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return k.load(ctx)
}

// upkeep makes a key if one is due, and deletes those that are needed no more.
func (k *signingKeys) upkeep(ctx context.Context, now time.Time) error {
	if newest := k.set()[len(k.set())-1]; now.Sub(newest.createdAt) >= k.life {
		made, err := k.make(ctx, follow(k.life), false)
		if err != nil {
			return err
		}
		if made {
			next := k.set()[len(k.set())-1]
			k.log.Info("another key is to sign tokens", "kid", next.id, "signs_from", next.signsFrom)
		}
	}
	if until := k.set().verifiesUntil(0); !until.IsZero() && now.After(until) {
		return k.retire(ctx)
	}
	return nil
}

// KeepSigningKeys replaces the keys that sign tokens as they age, and learns of
// those that other nodes make and revoke, until ctx ends.
func (a *Authority) KeepSigningKeys(ctx context.Context) {
	k := a.keys
	tick := time.NewTicker(readKeysEvery)
	defer tick.Stop()
	var tryAgain time.Time
	for {
		now := time.Now()
		if !now.Before(tryAgain) {
			if err := k.upkeep(ctx, now); err != nil && ctx.Err() == nil {
				k.log.Error("the keys that sign tokens cannot be replaced; trying again in a minute", "error", err)
				tryAgain = now.Add(replaceKeysEvery)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := k.load(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("the keys that sign tokens cannot be read: those known before go on counting", "error", err)
		}
	}
}

// SigningKeys returns the keys whose signatures count, in the order in which they
// sign.
func (a *Authority) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	if err := a.keys.load(ctx); err != nil {
		return nil, err
	}
	return a.keys.set().describe(time.Now()), nil
}

func (r keySet) describe(now time.Time) []SigningKey {
	var all []SigningKey
	signing := r.signing(now)
	state := KeyVerifying
	for i, k := range r {
		d := SigningKey{k.id, state, k.createdAt, k.signsFrom, r.verifiesUntil(i)}
		if k == signing {
			d.State, state = KeySigning, KeyNext
		}
		all = append(all, d)
	}
	return all
}

// RotateSigningKey has another key follow the one that signs tokens, and returns
// it. It signs five minutes later, and what was signed before stays good. If one
// waits to sign already, that is returned and made is false.
//
// With revoke it signs at once, and all others are deleted: every token that they
// signed is refused from now on, on other nodes after ten seconds or as soon as
// they reach the database.
func (a *Authority) RotateSigningKey(ctx context.Context, revoke bool) (key SigningKey, made bool, err error) {
	when := follow(0)
	if revoke {
		when = atOnce
	}
	if made, err = a.keys.make(ctx, when, revoke); err != nil {
		return SigningKey{}, made, err
	}
	all := a.keys.set().describe(time.Now())
	return all[len(all)-1], made, nil
}

// PublicKeys returns the keys by which others can verify tokens, to be encoded as
// JSON: a JWK set (RFC 7517), with the one that will sign next.
func (a *Authority) PublicKeys() any {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range a.keys.set() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set
}

func keyPurpose(row string) string { return "signing key " + row }

// newSigningKey returns a new key in PKCS #8 form.
func newSigningKey() ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("auth: make the signing key: %w", err)
	}
	return x509.MarshalPKCS8PrivateKey(private)
}

func parseSigningKey(pkcs8 []byte) (*signingKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("auth: read the signing key: %w", err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("auth: the signing key is a %T, not ECDSA", parsed)
	}
	jwk := jose.JSONWebKey{Key: private}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("auth: name the signing key: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("auth: use the signing key: %w", err)
	}
	return &signingKey{id: jwk.KeyID, public: &private.PublicKey, signer: signer}, nil
}

// sign makes a token of claims.
func (k *signingKeys) sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("auth: encode token: %w", err)
	}
	jws, err := k.set().signing(time.Now()).signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("auth: sign token: %w", err)
	}
	return jws.CompactSerialize()
}

// open checks the signature of a token, decodes its claims and returns the id of
// its key, or what is wrong with it. The header says which of our keys it is; what
// else of a key it holds or points to counts for nothing.
func (k *signingKeys) open(ctx context.Context, token string, claims any) (key string, wrong Cause) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", ForgedToken
	}
	header := jws.Signatures[0].Protected
	if header.JSONWebKey != nil {
		return "", ForgedToken
	}
	found := k.find(ctx, header.KeyID)
	if found == nil {
		// A key is deleted when its tokens have expired: then a client that kept
		// one is no forger.
		if expiredClaims(jws.UnsafePayloadWithoutVerification()) {
			return "", ExpiredToken
		}
		return "", ForgedToken
	}
	payload, err := jws.Verify(found.public)
	if err != nil {
		return "", ForgedToken
	}
	if err := json.Unmarshal(payload, claims); err != nil {
		return "", MisusedToken
	}
	return found.id, ""
}

// expiredClaims reports whether claims that nobody vouches for say that they have
// expired.
func expiredClaims(payload []byte) bool {
	var c struct {
		Expires int64 `json:"exp"`
	}
	return json.Unmarshal(payload, &c) == nil && c.Expires > 0 && c.Expires <= time.Now().Unix()
}
