package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// How long tokens are good for.
const (
	AccessTokenLife  = 75 * time.Minute
	RefreshTokenLife = 3 * time.Hour
)

// clockSkew is how far the clocks of nodes that share a database may differ.
const clockSkew = time.Minute

// maxToken is the longest token looked at, in bytes. One with maxScopes scopes
// of the longest names fits.
const maxToken = 64 << 10

// grantType tells tokens apart that are good for different things.
type grantType string

const (
	accessToken  grantType = "access_token"
	refreshToken grantType = "refresh_token"
)

// claims is the payload of a token, with the members that ACR's have, and the
// credential.
type claims struct {
	ID          string       `json:"jti"`
	Subject     string       `json:"sub"` // user name or appId; empty: anonymous
	NotBefore   int64        `json:"nbf"`
	Expires     int64        `json:"exp"`
	IssuedAt    int64        `json:"iat"`
	Issuer      string       `json:"iss"`
	Audience    string       `json:"aud"` // login server
	Version     string       `json:"version"`
	GrantType   grantType    `json:"grant_type"`
	Credential  string       `json:"credential,omitempty"` // of the subject's account
	Access      []Access     `json:"access,omitzero"`
	Permissions *permissions `json:"permissions,omitempty"`
	Roles       []string     `json:"roles"`
}

// permissions says what a refresh token can be turned into. ACR's tokens have
// it; nothing reads it here.
type permissions struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

const (
	issuer  = "Azure Container Registry"
	version = "1.0"
)

// Issue returns an access token for the registry that allows what of the wanted
// access the identity may have; possibly nothing, also for Anonymous. It is good
// for AccessTokenLife, or until the password or token that the identity came with
// expires.
func (a *Authority) Issue(id Identity, registry Registry, wanted []Access) (string, error) {
	return a.issue(id, registry, AccessTokenLife, claims{
		GrantType: accessToken,
		Access:    grant(id, registry, wanted),
	})
}

// IssueRefresh returns a refresh token: whoever holds it may have access tokens
// for the registry in the identity's name. It is good for RefreshTokenLife, or
// until the password or token that the identity came with expires. An access
// token, Anonymous and an account without rights in the registry get none: it
// fails as Identity.Require.
func (a *Authority) IssueRefresh(id Identity, registry Registry) (string, error) {
	if id.Access != nil || id.account == nil {
		return "", Anonymous.Require(registry)
	}
	if err := id.Require(registry); err != nil {
		return "", err
	}
	return a.issue(id, registry, RefreshTokenLife, claims{
		GrantType:   refreshToken,
		Permissions: &permissions{Actions: id.account.rights.words(registry), NotActions: []string{}},
	})
}

// issue signs a token, filling in what all have in common.
func (a *Authority) issue(id Identity, registry Registry, life time.Duration, c claims) (string, error) {
	now := time.Now()
	expires := now.Add(life)
	ends := []time.Time{id.expires}
	if id.account != nil {
		ends = append(ends, id.account.expires)
	}
	for _, end := range ends {
		if !end.IsZero() && end.Before(expires) {
			expires = end
		}
	}
	c.ID = uuid.NewString()
	c.NotBefore, c.IssuedAt, c.Expires = now.Unix(), now.Unix(), expires.Unix()
	c.Issuer, c.Version, c.Audience = issuer, version, registry.Service
	c.Roles = []string{}
	if id.account != nil {
		c.Subject, c.Credential = id.account.id, id.account.credential()
	}
	return a.signing.sign(c)
}

// verify returns the claims of a registry's token that this installation signed
// and that is good now. Whom it is for is left to the caller.
func (a *Authority) verify(token string) (*claims, bool) {
	if len(token) > maxToken {
		return nil, false
	}
	now := time.Now()
	sum := sha256.Sum256([]byte(token))
	c := a.tokens.get(sum, now)
	if c == nil {
		c = &claims{}
		if err := a.signing.open(token, c); err != nil || c.Issuer != issuer || c.Version != version {
			return nil, false
		}
		a.tokens.put(sum, c, now)
	}
	return c, goodAt(now, c.NotBefore, c.Expires)
}

// goodAt reports whether a token's time has begun and has not ended.
func goodAt(now time.Time, notBefore, expires int64) bool {
	return now.Unix() < expires && notBefore <= now.Add(clockSkew).Unix()
}

// signingKey is the key that signs tokens.
type signingKey struct {
	id     string // its JWK thumbprint (RFC 7638)
	public *ecdsa.PublicKey
	signer jose.Signer
}

// firstKey is the row of signing_key that holds the key in use.
const firstKey = "1"

// loadSigningKey returns the installation's key, making it if there is none.
func loadSigningKey(ctx context.Context, db *sqldb.DB, key *seal.Key) (signingKey, error) {
	const purpose = "signing key " + firstKey
	var sealed []byte
	find := func(tx *sqldb.Tx) (err error) {
		sealed, err = findSigningKey(tx, firstKey)
		return err
	}
	err := db.Read(ctx, find)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
			private, err := newSigningKey()
			if err != nil {
				return err
			}
			if err := addSigningKey(tx, firstKey, key.Seal(private, purpose)); err != nil {
				return err
			}
			return find(tx)
		})
	}
	if err != nil {
		return signingKey{}, err
	}
	private, err := key.Open(sealed, purpose)
	if err != nil {
		return signingKey{}, err
	}
	return parseSigningKey(private)
}

// newSigningKey returns a new key in PKCS #8 form.
func newSigningKey() ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("auth: make the signing key: %w", err)
	}
	return x509.MarshalPKCS8PrivateKey(private)
}

func parseSigningKey(pkcs8 []byte) (signingKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return signingKey{}, fmt.Errorf("auth: read the signing key: %w", err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return signingKey{}, fmt.Errorf("auth: the signing key is a %T, not ECDSA", parsed)
	}
	jwk := jose.JSONWebKey{Key: private}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return signingKey{}, fmt.Errorf("auth: name the signing key: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return signingKey{}, fmt.Errorf("auth: use the signing key: %w", err)
	}
	return signingKey{jwk.KeyID, &private.PublicKey, signer}, nil
}

// sign makes a token of claims.
func (k *signingKey) sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("auth: encode token: %w", err)
	}
	jws, err := k.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("auth: sign token: %w", err)
	}
	return jws.CompactSerialize()
}

// open checks the signature of a token and decodes its claims.
func (k *signingKey) open(token string, claims any) error {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err
	}
	if jws.Signatures[0].Protected.KeyID != k.id {
		return errors.New("auth: a token of another key")
	}
	payload, err := jws.Verify(k.public)
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, claims)
}

// tokenCache remembers tokens whose signature was checked, by their hash, so
// that a request with a known token costs microseconds. Whether a token is still
// good is checked each time.
type tokenCache struct {
	mu    sync.RWMutex
	known map[[sha256.Size]byte]knownToken
}

type knownToken struct {
	claims *claims
	until  time.Time // when to forget it
}

const (
	maxKnownTokens = 4096
	knownTokenLife = 5 * time.Minute
)

// get returns nil for a token it does not know.
func (t *tokenCache) get(sum [sha256.Size]byte, now time.Time) *claims {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if k, ok := t.known[sum]; ok && now.Before(k.until) {
		return k.claims
	}
	return nil
}

func (t *tokenCache) put(sum [sha256.Size]byte, c *claims, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = make(map[[sha256.Size]byte]knownToken)
	}
	if len(t.known) >= maxKnownTokens {
		clear(t.known) // each is one signature check away
	}
	t.known[sum] = knownToken{c, now.Add(knownTokenLife)}
}
