package arm

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/webhook"
)

// The wire forms of listeners: webhooks that ring over a connection which their
// client opens.
type (
	listenerInput struct {
		Location member[string]   `json:"location"` // absent: the registry's home
		Scope    member[string]   `json:"scope"`
		Actions  member[[]string] `json:"actions"` // absent: all of ACR's
	}
	deliveryBody struct {
		Attempt string            `json:"attempt"` // what the result is reported by
		EventID string            `json:"eventId"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`            // byte for byte what the signature is over
		Actor   string            `json:"actor,omitempty"` // who made the change
		Replay  int64             `json:"replay,omitempty"`
		Timeout int               `json:"timeoutInSeconds"` // how long the client has
	}
	resultInput struct {
		Attempt    string                    `json:"attempt"`
		Status     int                       `json:"status"` // 0: there was no answer
		Headers    member[map[string]string] `json:"headers"`
		Body       string                    `json:"body"`
		DurationMs float64                   `json:"durationMs"`
		Error      string                    `json:"error"`   // at which step it ended without an answer: dns, connect, …
		Message    string                    `json:"message"` // says more of that
	}
)

func (in resultInput) report() listen.Report {
	return listen.Report{
		Status: in.Status, Header: in.Headers.orZero(), Body: []byte(in.Body),
		Duration: time.Duration(in.DurationMs * float64(time.Millisecond)),
		Class:    in.Error, Message: in.Message,
	}
}

// createListener makes a webhook without an address. It is deleted when its
// client has been away for a while.
func createListener(a *api, c call) (answer, error) {
	var in listenerInput
	if err := readOptional(c.Request, &in); err != nil {
		return answer{}, err
	}
	def := webhook.Definition{Location: in.Location.orZero(), Scope: in.Scope.orZero(), Actions: in.Actions.orZero()}
	w, err := a.Webhooks.Listen(c.Context(), hooksOf(c.registry), def, webhook.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	if err := a.Listeners.Add(c.Context(), listenerOf(w)); err != nil {
		return answer{}, err
	}
	c.note("name", w.Name)
	return answer{http.StatusCreated, webhookToWire(c.registry, w)}, nil
}

// listener returns the webhook of that name, if it is a listener.
func (a *api) listener(c call) (webhook.Webhook, error) {
	w, err := a.Webhooks.Get(c.Context(), hooksOf(c.registry), c.name)
	if fault.Is(err, fault.NotFound) || err == nil && !w.Listener {
		return w, fault.New(fault.NotFound, "registry %s has no listener %q: it was deleted, as one is that nobody listens to for %d minutes; make another with POST listeners",
			c.registry.Name, clip(c.name), listen.KeptFor/time.Minute)
	}
	return w, err
}

func listenerOf(w webhook.Webhook) listen.Listener {
	return listen.Listener{Registry: w.RegistryID, Endpoint: w.ID, Name: strings.ToLower(w.Name)}
}

// listenToDeliveries answers with a stream of what the listener is to carry out.
func listenToDeliveries(a *api, c call) (answer, error) {
	w, err := a.listener(c)
	if err != nil || c.Method == http.MethodHead {
		return answer{status: http.StatusOK}, err
	}
	deliveries, err := a.Listeners.Open(c.Context(), listenerOf(w))
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, stream(func(s *eventStream) {
		defer deliveries.Close()
		a.streamDeliveries(c, s, deliveries)
	})}, nil
}

func (a *api) streamDeliveries(c call, s *eventStream, deliveries *listen.Stream) {
	for {
		ctx, cancel := context.WithTimeout(c.Context(), heartBeat)
		d, err := deliveries.Next(ctx)
		cancel()
		if c.Context().Err() != nil {
			return
		}
		silent := errors.Is(err, context.DeadlineExceeded)
		if err != nil && !silent {
			s.fail(err)
			return
		}
		if denied := a.recheckListener(c); denied != nil {
			if !silent {
				a.Listeners.Result(c.registry.ID, deliveries.Name(), d.Attempt, notHandedOut)
			}
			s.fail(denied)
			return
		}
		if silent {
			err = s.beat()
		} else {
			err = s.send("", "delivery", deliveryToWire(d))
		}
		if err != nil {
			return
		}
	}
}

// notHandedOut is what became of a delivery whose client lost the right to it.
var notHandedOut = listen.Report{Class: "connect", Message: "not handed out: whoever listens may not do so any more"}

// recheckListener fails if the caller may not listen any more.
func (a *api) recheckListener(c call) error {
	if err := a.recheck(c); err != nil {
		return err
	}
	_, err := a.listener(c)
	return err
}

func deliveryToWire(d listen.Delivery) deliveryBody {
	headers := make(map[string]string, len(d.Header))
	for name, values := range d.Header {
		headers[name] = strings.Join(values, ", ")
	}
	return deliveryBody{
		Attempt: d.Attempt, EventID: d.EventID, Headers: headers, Body: string(d.Body),
		Actor: d.Actor, Replay: d.Replay, Timeout: max(1, int(d.Timeout.Round(time.Second)/time.Second)),
	}
}

// reportResult takes what became of one delivery.
func reportResult(a *api, c call) (answer, error) {
	var in resultInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	if err := a.Listeners.Result(c.registry.ID, strings.ToLower(c.name), in.Attempt, in.report()); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// deleteListener answers 204 when there was nothing to delete.
func deleteListener(a *api, c call) (answer, error) {
	err := a.Webhooks.Unlisten(c.Context(), hooksOf(c.registry), c.name)
	if err == nil || fault.Is(err, fault.NotFound) {
		a.Listeners.Remove(c.registry.ID, strings.ToLower(c.name))
	}
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	return answer{status: http.StatusOK}, err
}
