package portal

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func init() {
	at := Root + "/server/keys"
	addPages(
		route{"GET " + at, showKeys},
		route{"POST " + at + "/rotate", rotateKey},
	)
	done["key-made"] = "Another key is made. It begins to sign once every node has had time to read it."
	done["key-waits"] = "A key waits to sign already. No other was made."
	done["key-revoked"] = "A new key signs, and whatever another one signed is refused."
}

// keys is what the page of the signing keys shows.
type keys struct {
	Pages     []entry
	List      []keyRow
	MayRotate bool
}

// keyRow is a key that signs tokens.
type keyRow struct {
	controlclient.SigningKey
	State state
}

func newKeyRow(k controlclient.SigningKey) keyRow {
	row := keyRow{k, state{"pause", k.State}}
	switch k.State {
	case "next":
		row.State = state{"wait", "next to sign"}
	case "signing":
		row.State = state{"good", "signs"}
	case "verifying":
		row.State = state{"pause", "signs no more, still believed"}
	}
	return row
}

func showKeys(p *portal, w http.ResponseWriter, v *visit) error {
	all, err := v.api.SigningKeys(v.Context())
	if err != nil {
		return err
	}
	registries, err := v.api.Registries(v.Context())
	if err != nil {
		return err
	}
	b := keys{Pages: v.serverPages(registries), MayRotate: v.inSubscription(registries, "signingKeys/rotate/action")}
	for _, k := range all {
		b.List = append(b.List, newKeyRow(k))
	}
	return p.render(w, v.Request, v, http.StatusOK, "keys", page{Title: "Signing keys", Section: "server", Body: b})
}

// rotateKey has another key follow, or takes the place of all at once. That ends the
// visitor's own session too, which the next page says by asking to log in.
func rotateKey(_ *portal, w http.ResponseWriter, v *visit) error {
	revoke := v.PostFormValue("revoke") == "true"
	_, made, err := v.api.RotateSigningKey(v.Context(), revoke)
	if err != nil {
		return err
	}
	return back(w, v, serverPath("keys"), word(revoke, "key-revoked", word(made, "key-made", "key-waits")))
}
