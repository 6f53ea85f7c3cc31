package auth

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// RepositoryToken is an account of one registry that may what its scope map
// allows. ACR calls it a token; it is none that is signed. Its name is its user
// name.
//
// Its passwords are made here and stored as service principals' are.
type RepositoryToken struct {
	Name      string // as sent when it was created; the user name has that case
	ScopeMap  string // name of one
	Enabled   bool   // it may log in
	Passwords []TokenPassword
	Stamp
}

// TokenPassword is what may be known of a token's password.
type TokenPassword struct {
	Name      string // one of tokenPasswords
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// NewPassword is a password that was made just now, and cannot be had again.
type NewPassword struct {
	TokenPassword
	Value string
}

// tokenPasswords are what the passwords of a token are called.
var tokenPasswords = []string{"password1", "password2"}

// TokenChange is what of a token is to be another. A nil member is left as it is.
type TokenChange struct {
	ScopeMap *string // name of one
	Status   *string // enabled or disabled

	// Keep are the passwords that stay; the others go. Nothing can be changed in
	// one: a time of expiry, if it is there, has to be what it is.
	Keep []TokenPassword
}

// Token returns a token. It fails with fault.NotFound.
func (t *RepositoryTokens) Token(ctx context.Context, reg TokenRegistry, name string) (token RepositoryToken, err error) {
	err = t.a.db.Read(ctx, func(tx *sqldb.Tx) error {
		token, err = findToken(tx, reg, name)
		return err
	})
	return token, err
}

// Tokens returns at most n tokens of a registry by name, starting behind after:
// empty, or what an earlier call returned as next. next is empty when there are
// no more.
func (t *RepositoryTokens) Tokens(ctx context.Context, reg TokenRegistry, after string, n int) (page []RepositoryToken, next string, err error) {
	err = t.a.db.Read(ctx, func(tx *sqldb.Tx) error {
		page, err = selectTokens(tx, reg.ID, after, n+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > n {
		page = page[:n]
		next = nameKey(page[n-1].Name)
	}
	return page, next, nil
}

// PutToken creates a token, enabled unless the definition says otherwise, or
// replaces what is settled of the one of that name, which keeps its passwords if
// def says nothing of them; created tells which. A new one has no password.
//
// Errors: fault.Invalid for what breaks a rule and (ScopeMapNotFound) for a scope
// map that is not there, fault.Quota (QuotaExceeded).
func (t *RepositoryTokens) PutToken(ctx context.Context, reg TokenRegistry, name string, def TokenChange, by Actor) (token RepositoryToken, created bool, err error) {
	if err := t.checkTokenName(reg, name); err != nil {
		return RepositoryToken{}, false, err
	}
	if def.ScopeMap == nil {
		return RepositoryToken{}, false, fault.New(fault.Invalid, "the token has no scope map: give one of the registry, for example _repositories_pull").WithCode("ScopeMapRequired")
	}
	if def.Status == nil {
		def.Status = new(statusEnabled)
	}
	err = t.change(ctx, func(tx *sqldb.Tx) error {
		token, err = findToken(tx, reg, name)
		if created = fault.Is(err, fault.NotFound); created {
			token = RepositoryToken{Name: name, Stamp: newStamp(tx, by)}
			err = withinQuota(tx, reg, "repository_token", "tokens")
		}
		if err != nil {
			return err
		}
		token, err = storeToken(tx, reg, token, def, by)
		return err
	})
	if err != nil {
		return RepositoryToken{}, false, err
	}
	return token, created, nil
}

// PatchToken changes members of a token. Errors: as PutToken, and fault.NotFound.
func (t *RepositoryTokens) PatchToken(ctx context.Context, reg TokenRegistry, name string, change TokenChange, by Actor) (token RepositoryToken, err error) {
	err = t.change(ctx, func(tx *sqldb.Tx) error {
		if token, err = findToken(tx, reg, name); err != nil {
			return err
		}
		token, err = storeToken(tx, reg, token, change, by)
		return err
	})
	if err != nil {
		return RepositoryToken{}, err
	}
	return token, nil
}

// DeleteToken deletes a token with its passwords. It fails with fault.NotFound.
func (t *RepositoryTokens) DeleteToken(ctx context.Context, reg TokenRegistry, name string) error {
	return t.change(ctx, func(tx *sqldb.Tx) error {
		if _, err := findToken(tx, reg, name); err != nil {
			return err
		}
		return deleteToken(tx, reg.ID, nameKey(name))
	})
}

// GenerateCredentials makes a password of a token anew, or both for an empty name,
// and returns those it made. What they were before, and all tokens that were had
// with that, are refused from now on. They are good until expires, or for ever if
// that is zero. It fails with fault.Invalid and fault.NotFound.
func (t *RepositoryTokens) GenerateCredentials(ctx context.Context, reg TokenRegistry, name, password string, expires time.Time, by Actor) (token RepositoryToken, made []NewPassword, err error) {
	names := tokenPasswords
	if password != "" {
		known, ok := tokenPassword(password)
		if !ok {
			return RepositoryToken{}, nil, fault.New(fault.Invalid, "there is no password %.80q: use password1 or password2, or leave the name out for both", password).WithCode("InvalidParameter")
		}
		names = []string{known}
	}
	if expires.After(time.Unix(0, math.MaxInt64)) {
		return RepositoryToken{}, nil, fault.New(fault.Invalid, "the passwords would expire in the year %d, which is too far away: leave the time out for ones that do not expire", expires.Year()).
			WithCode("InvalidParameter")
	}
	err = t.change(ctx, func(tx *sqldb.Tx) error {
		if token, err = findToken(tx, reg, name); err != nil {
			return err
		}
		if !expires.IsZero() && !expires.After(tx.Now()) {
			return fault.New(fault.Invalid, "the passwords would expire at %s, which is past: give a later time", expires.UTC().Format(time.RFC3339)).WithCode("InvalidParameter")
		}
		made = nil
		for _, name := range names {
			p := NewPassword{TokenPassword{name, tx.Now(), expires.UTC()}, newSecret()}
			mac := t.a.mac(token.Name, p.Value)
			if err := upsertPassword(tx, reg.ID, nameKey(token.Name), p.TokenPassword, mac[:]); err != nil {
				return err
			}
			made = append(made, p)
		}
		token.UpdatedAt, token.UpdatedBy = tx.Now(), by
		if err := upsertToken(tx, reg.ID, token); err != nil {
			return err
		}
		token, err = findToken(tx, reg, name)
		return err
	})
	if err != nil {
		return RepositoryToken{}, nil, err
	}
	return token, made, nil
}

// storeToken stores token with a change made to it.
func storeToken(tx *sqldb.Tx, reg TokenRegistry, token RepositoryToken, change TokenChange, by Actor) (RepositoryToken, error) {
	if change.ScopeMap != nil {
		m, err := findScopeMap(tx, reg, *change.ScopeMap)
		if fault.Is(err, fault.NotFound) {
			return token, fault.New(fault.Invalid, "registry %s has no scope map %.80q: create it first, or give one of those it has", reg.Name, *change.ScopeMap).WithCode("ScopeMapNotFound")
		}
		if err != nil {
			return token, err
		}
		token.ScopeMap = m.Name
	}
	if change.Status != nil {
		switch strings.ToLower(*change.Status) {
		case statusEnabled:
			token.Enabled = true
		case statusDisabled:
			token.Enabled = false
		default:
			return token, fault.New(fault.Invalid, "status %.80q is none: use enabled or disabled", *change.Status).WithCode("InvalidParameter")
		}
	}
	token.UpdatedAt, token.UpdatedBy = tx.Now(), by
	if err := upsertToken(tx, reg.ID, token); err != nil {
		return token, err
	}
	if change.Keep == nil {
		return token, nil
	}
	kept, err := token.keep(change.Keep)
	if err != nil {
		return token, err
	}
	for _, p := range token.Passwords {
		if slices.Contains(kept, p) {
			continue
		}
		if err := deletePassword(tx, reg.ID, nameKey(token.Name), p.Name); err != nil {
			return token, err
		}
	}
	token.Passwords = kept
	return token, nil
}

// What ARM says of whether a token may log in.
const (
	statusEnabled  = "enabled"
	statusDisabled = "disabled"
)

// Status returns enabled or disabled.
func (t RepositoryToken) Status() string {
	if t.Enabled {
		return statusEnabled
	}
	return statusDisabled
}

// keep returns those of the passwords that are to stay.
func (t RepositoryToken) keep(wanted []TokenPassword) ([]TokenPassword, error) {
	stays := map[string]bool{}
	for _, w := range wanted {
		name, ok := tokenPassword(w.Name)
		i := slices.IndexFunc(t.Passwords, func(p TokenPassword) bool { return p.Name == name })
		if !ok || i < 0 {
			return nil, fault.New(fault.Invalid, "token %s has no password %.80q: dockbell token credential generate -n %[1]s makes password1 and password2", t.Name, w.Name).WithCode("InvalidParameter")
		}
		if p := t.Passwords[i]; !w.ExpiresAt.IsZero() && w.ExpiresAt.Unix() != p.ExpiresAt.Unix() {
			return nil, fault.New(fault.Invalid, "the time when %s of token %s expires cannot be changed: make the password anew, with dockbell token credential generate -n %[2]s", name, t.Name).
				WithCode("InvalidParameter")
		}
		stays[name] = true
	}
	kept := []TokenPassword{}
	for _, p := range t.Passwords {
		if stays[p.Name] {
			kept = append(kept, p)
		}
	}
	return kept, nil
}

// tokenPassword returns the name of a password that was given in any case.
func tokenPassword(text string) (name string, ok bool) {
	i := slices.IndexFunc(tokenPasswords, func(name string) bool { return strings.EqualFold(name, text) })
	if i < 0 {
		return "", false
	}
	return tokenPasswords[i], true
}

// findToken returns the token of a name in any case.
func findToken(tx *sqldb.Tx, reg TokenRegistry, name string) (RepositoryToken, error) {
	token, err := RepositoryToken{}, error(sqldb.ErrNoRow)
	if validName(name, "-") {
		token, err = selectToken(tx, reg.ID, nameKey(name))
	}
	if errors.Is(err, sqldb.ErrNoRow) {
		err = fault.New(fault.NotFound, "registry %s has no token %.80q: dockbell token list -r %[1]s shows those it has", reg.Name, name).WithCode("ResourceNotFound")
	}
	return token, err
}

// checkTokenName keeps the user names of tokens apart from those of others.
func (t *RepositoryTokens) checkTokenName(reg TokenRegistry, name string) error {
	_, isID := parseAppID(name)
	op := t.a.operator.Load()
	why := ""
	switch {
	case !validName(name, "-"):
		why = "use 5 to 50 letters, digits and dashes"
	case isID:
		why = "names of that form are those of service principals"
	case strings.EqualFold(name, reg.Name):
		why = "it is that of the registry's admin user"
	case op != nil && strings.EqualFold(name, op.id):
		why = "it is the operator's"
	default:
		return nil
	}
	return fault.New(fault.Invalid, "token name %.80q is not valid: %s; ci-pull would be one", name, why).WithCode("InvalidResourceName")
}

// tokenAccounts returns an account for each password of an enabled token that is
// good now. The name has to have the case it was made with.
func (a *Authority) tokenAccounts(ctx context.Context, registry int64, name string) (found []*account, err error) {
	if !validName(name, "-") {
		return nil, nil
	}
	err = a.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err = selectLogins(tx, registry, name, tx.Now())
		return err
	})
	return found, err
}
