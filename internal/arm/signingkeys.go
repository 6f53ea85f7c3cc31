package arm

import (
	"context"
	"net/http"

	"github.com/dockbell/dockbell/internal/auth"
)

// SigningKeys are the keys that sign tokens. Package auth has them, and says what
// each fails with.
type SigningKeys interface {
	// SigningKeys returns them in the order in which they sign.
	SigningKeys(ctx context.Context) ([]auth.SigningKey, error)

	// RotateSigningKey makes another key, or returns one that waits to sign;
	// revoke makes all others invalid at once.
	RotateSigningKey(ctx context.Context, revoke bool) (key auth.SigningKey, made bool, err error)
}

// The wire forms of signing keys.
type (
	rotateKeyInput struct {
		Revoke bool `json:"revoke"`
	}
	signingKeyBody struct {
		ID            string `json:"id"` // kid in tokens and in the JWK set
		State         string `json:"state"`
		CreatedAt     string `json:"createdAt"`
		SignsFrom     string `json:"signsFrom"`
		VerifiesUntil string `json:"verifiesUntil,omitempty"`
	}
)

func signingKeyToWire(k auth.SigningKey) signingKeyBody {
	return signingKeyBody{k.ID, k.State, wireTime(k.CreatedAt), wireTime(k.SignsFrom), optionalTime(k.VerifiesUntil)}
}

func listSigningKeys(a *api, c call) (answer, error) {
	keys, err := a.SigningKeys.SigningKeys(c.Context())
	if err != nil {
		return answer{}, err
	}
	list := listBody[signingKeyBody]{Value: make([]signingKeyBody, len(keys))}
	for i, k := range keys {
		list.Value[i] = signingKeyToWire(k)
	}
	return answer{http.StatusOK, list}, nil
}

// rotateSigningKey answers 201 with a key that was made, and 200 with one that
// waits to sign already.
func rotateSigningKey(a *api, c call) (answer, error) {
	var in rotateKeyInput
	if err := readOptional(c.Request, &in); err != nil {
		return answer{}, err
	}
	key, made, err := a.SigningKeys.RotateSigningKey(c.Context(), in.Revoke)
	if err != nil {
		return answer{}, err
	}
	c.note("kid", key.ID, "made", made, "revoke", in.Revoke)
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	return answer{status, signingKeyToWire(key)}, nil
}
