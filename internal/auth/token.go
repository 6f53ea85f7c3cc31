package auth

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/google/uuid"
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
	return a.keys.sign(c)
}

// verify returns the claims of a registry's token that this installation signed
// and that is good now, or what is wrong with it. Whom it is for is left to the
// caller.
func (a *Authority) verify(ctx context.Context, token string) (*claims, Cause) {
	if len(token) > maxToken {
		return nil, ForgedToken
	}
	now := time.Now()
	sum := sha256.Sum256([]byte(token))
	c := a.tokens.get(sum, now, a.keys.set())
	if c == nil {
		c = &claims{}
		key, cause := a.keys.open(ctx, token, c)
		if cause != "" {
			return nil, cause
		}
		if c.Issuer != issuer || c.Version != version {
			return nil, MisusedToken
		}
		a.tokens.put(sum, c, key, now)
	}
	if !goodAt(now, c.NotBefore, c.Expires) {
		return nil, ExpiredToken
	}
	return c, ""
}

// goodAt reports whether a token's time has begun and has not ended.
func goodAt(now time.Time, notBefore, expires int64) bool {
	return now.Unix() < expires && notBefore <= now.Add(clockSkew).Unix()
}

// tokenCache remembers tokens whose signature was checked, by their hash, so
// that a request with a known token costs microseconds. Whether a token is still
// good, and its key still one, is checked each time.
type tokenCache struct {
	mu    sync.RWMutex
	known map[[sha256.Size]byte]knownToken
}

type knownToken struct {
	claims *claims
	key    string    // id of the one that signed it
	until  time.Time // when to forget it
}

const (
	maxKnownTokens = 4096
	knownTokenLife = 5 * time.Minute
)

// get returns nil for a token it does not know, or whose key is not in the set
// any more.
func (t *tokenCache) get(sum [sha256.Size]byte, now time.Time, set keySet) *claims {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if k, ok := t.known[sum]; ok && now.Before(k.until) && set.find(k.key) != nil {
		return k.claims
	}
	return nil
}

func (t *tokenCache) put(sum [sha256.Size]byte, c *claims, key string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = make(map[[sha256.Size]byte]knownToken)
	}
	if len(t.known) >= maxKnownTokens {
		clear(t.known) // each is one signature check away
	}
	t.known[sum] = knownToken{c, key, now.Add(knownTokenLife)}
}
