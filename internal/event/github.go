package event

import "encoding/json"

// The wire form of a repository_dispatch event: GitHub takes a client_payload of
// at most ten members and less than 64 KiB, and an event_type of at most 100
// characters.
type (
	githubDispatch struct {
		EventType     string        `json:"event_type"`
		ClientPayload githubPayload `json:"client_payload"`
	}
	githubPayload struct {
		Action     Action `json:"action"`
		Registry   string `json:"registry"` // login server
		Repository string `json:"repository,omitempty"`
		Tag        string `json:"tag,omitempty"`
		Digest     string `json:"digest,omitempty"`
		Image      string `json:"image,omitempty"`

		// Test marks a sample: workflows see no header.
		Test bool `json:"test"`

		Event json.RawMessage `json:"event"` // the data of a CloudEvent
	}
)

// GitHubDispatch returns e as the body of GitHub's "create a repository dispatch
// event": one compact JSON object, of BinaryType. The event type is dockbell. and
// the action. It has less than MaxBody bytes whatever strangers sent.
func GitHubDispatch(e *Event) []byte {
	_, data := BinaryCloudEvent(e)
	p := githubPayload{Action: e.Action, Registry: e.Registry.LoginServer, Test: e.Sample, Event: data}
	if i := imageOf(e); i.isThere() {
		p.Repository, p.Tag, p.Digest, p.Image = i.repository, i.tag, i.digest, i.reference()
	}
	return compact(githubDispatch{"dockbell." + string(e.Action), p})
}
