package arm

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/subscription"
)

// ConfirmationsRoot is the path below which are the addresses that receivers are
// sent to agree later.
const ConfirmationsRoot = subscription.ConfirmPath

// confirmAction is what opening such an address is called on record.
const confirmAction = aEventSubscription + "/confirm/action"

// Confirmations returns the door through which a receiver agrees later than when it
// was asked: Event Grid's validationUrl, and the WebHook-Request-Callback of
// CloudEvents. It is for paths below ConfirmationsRoot, and takes no credentials:
// the token in the query is the secret, which is good for one subscription, once.
// Whoever does not have it learns nothing, not even whether a name exists.
func Confirmations(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return http.HandlerFunc((&api{cfg}).confirm)
}

func (a *api) confirm(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address is the secret
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		h.Set("Allow", "GET, POST") // not HEAD, by which programs look at links before people do
		a.tell(w, r, http.StatusMethodNotAllowed, "MethodNotAllowed", "This address takes GET and POST.")
		return
	}
	segments := splitPath(r.URL.Path)
	token := r.URL.Query().Get("token")
	if !hasPrefix(segments, "eventsubscriptions", "*", "validate") || len(segments) != 3 || token == "" {
		a.unconfirmed(w, r)
		return
	}
	perMinute, err := allowedRate(r)
	if err != nil {
		a.tell(w, r, http.StatusBadRequest, "InvalidRequest", fault.As(err).Message)
		return
	}
	err = a.Subscriptions.Confirm(r.Context(), token, perMinute)
	entry := audit.Entry{
		ActorKind: audit.Anonymous, Client: audit.Host(r.RemoteAddr), Action: confirmAction, Resource: "/", Outcome: audit.Refused,
		Request: h.Get(headerRequestID), Correlation: h.Get(headerCorrelationID), Detail: "404 ResourceNotFound",
	}
	switch {
	case fault.Is(err, fault.NotFound):
		a.Audit.Count(entry)
		a.unconfirmed(w, r)
		return
	case err != nil:
		a.Log.Error("an event subscription could not be confirmed", "request", h.Get(headerRequestID), "error", err)
		f := fault.As(err)
		status, code := statusAndCode(f)
		a.tell(w, r, status, code, f.Message)
		return
	}
	entry.Outcome, entry.Detail = audit.Succeeded, "name="+clip(segments[1]) // as the address has it, which was made here
	a.Audit.Record(r.Context(), entry)
	a.tell(w, r, http.StatusOK, "", "The event subscription is confirmed: its events are delivered from now on.")
}

// unconfirmed answers whoever has no token that is good.
func (a *api) unconfirmed(w http.ResponseWriter, r *http.Request) {
	a.tell(w, r, http.StatusNotFound, "ResourceNotFound",
		"Nothing waits to be confirmed at this address: it was used already, its time is over, or it is not whole. Whoever owns the event subscription can have its receiver asked again.")
}

// allowedRate reads how many requests a minute the receiver allows, from a header or,
// for people who paste the address, the query; 0 is any number.
func allowedRate(r *http.Request) (int, error) {
	const name = "WebHook-Allowed-Rate"
	text := strings.TrimSpace(r.Header.Get(name))
	for key, values := range r.URL.Query() {
		if text == "" && strings.EqualFold(key, name) && len(values) > 0 {
			text = strings.TrimSpace(values[0])
		}
	}
	if text == "" || text == "*" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, fault.New(fault.Invalid, "%s %q is no rate: use a whole number of requests a minute, or *.", name, clip(text))
	}
	return int(n), nil
}

// tell answers in a sentence: a page for those who read in a browser, JSON for
// others. An empty code is no error.
func (a *api) tell(w http.ResponseWriter, r *http.Request, status int, code, sentence string) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<!doctype html>\n<html lang=\"en\"><title>Dockbell</title>\n<p>%s</p>\n</html>\n", html.EscapeString(sentence))
		return
	}
	if code == "" {
		write(w, answer{status, confirmedBody{sentence}})
		return
	}
	write(w, answer{status, errorBody{errorDetail{Code: code, Message: sentence}}})
}

type confirmedBody struct {
	Message string `json:"message"`
}
