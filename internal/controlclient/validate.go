package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
)

// Validation is what a PutWebhook or PatchWebhook would come to.
type Validation struct {
	Valid    bool      `json:"valid"`
	Problems []Problem `json:"problems"`

	// Events are the newest events of the registry, newest first; none where scope or
	// actions are a problem.
	Events []ComparedEvent `json:"events"`
}

// Problem is a rule that a webhook would break.
type Problem struct {
	Target  string `json:"target"` // the member, as in properties.scope; empty: the webhook as a whole
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ComparedEvent is an event, and whether a webhook would have rung for it.
type ComparedEvent struct {
	FeedEntry
	Matches bool
}

// UnmarshalJSON reads the event and whether it matches.
func (e *ComparedEvent) UnmarshalJSON(b []byte) error {
	var own struct{ Matches bool }
	if err := json.Unmarshal(b, &own); err != nil {
		return err
	}
	e.Matches = own.Matches
	return json.Unmarshal(b, &e.FeedEntry)
}

// ValidateWebhook checks what PutWebhook would check, and changes nothing. It
// compares the newest n events with the webhook, 100 at the most.
func (c *Client) ValidateWebhook(ctx context.Context, registry, name string, def WebhookCreate, n int) (Validation, error) {
	return get[Validation](ctx, c, http.MethodPut, webhookPath(registry, name)+dryRun(n), def)
}

// ValidateWebhookUpdate is ValidateWebhook for PatchWebhook.
func (c *Client) ValidateWebhookUpdate(ctx context.Context, registry, name string, change WebhookUpdate, n int) (Validation, error) {
	return get[Validation](ctx, c, http.MethodPatch, webhookPath(registry, name)+dryRun(n), change)
}

func dryRun(n int) string { return "?validateOnly=true&last=" + strconv.Itoa(n) }
