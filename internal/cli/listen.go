package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// maxForwards is how many deliveries are in work at once.
const maxForwards = 32

// keptFor is how long the server keeps a listener without a connection.
const keptFor = 10 * time.Minute

// farewell bounds how long the end of the command may take.
const farewell = 5 * time.Second

func listenCommand(env Env) *cobra.Command {
	l := &listening{env: env, now: time.Now}
	in := inRegistry{conn: connection{env: env}}
	actions := wordList{allowed: webhookActions}
	otherwise := []string{"push", "delete", "chart_push", "chart_delete"} // a quarantine comes beside each push
	var forward, scope string
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print what rings, or hand it to a program on this machine.",
		Long: "Make a webhook whose rings come to this command over one outgoing connection, print each, and delete it at\n" +
			"the end. With --forward each is sent to a program on this machine, byte for byte as a webhook would get it,\n" +
			"and what that answers is the outcome on the server: failures are tried again as for any webhook.",
		Example: "  dockbell listen -r contoso\n  dockbell listen -r contoso --forward http://127.0.0.1:3000/hook --scope 'team/*:*' --actions push delete",
		Args:    NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if forward != "" {
				u, err := parseForward(forward)
				if err != nil {
					return err
				}
				l.forward = newForwarder(u)
			}
			env.warnOfScope(scope)
			l.wanted = controlclient.ListenerCreate{Actions: otherwise, Scope: scope}
			if actions.words != nil {
				l.wanted.Actions = actions.words
			}
			return in.run(cmd.Context(), func(c *connected, registry string) error {
				l.server, l.registry = c, registry
				return l.run(cmd.Context())
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	in.flags(flags)
	flags.StringVar(&forward, "forward", "", "`URL` to send each event to, for example http://127.0.0.1:3000/hook")
	flags.StringVar(&scope, "scope", "", "which images ring: `repo:tag`, repo:*, team/*:*, or empty for all")
	flags.Var(&actions, "actions", "what rings, separated by blanks: "+strings.Join(webhookActions, " ")+"; unless given "+strings.Join(otherwise, " "))
	flags.BoolVarP(&l.verbose, "verbose", "v", false, "print the body of each event, too")
	Group(flags, "What it does")
	in.conn.flags(flags)
	return cmd
}

// listening is one run of dockbell listen.
type listening struct {
	env      Env
	forward  *forwarder // nil: every delivery is answered with 200 here
	verbose  bool
	wanted   controlclient.ListenerCreate
	server   *connected
	registry string

	now      func() time.Time
	name     string    // of the webhook on the server that rings here
	lastSeen time.Time // when there was a connection last

	mu               sync.Mutex // guards what follows, and keeps lines together
	columns          columns
	received, failed int
	told             bool // how to send a failed one again, since the last that succeeded
}

func (l *listening) run(ctx context.Context) error {
	l.columns.coloured = l.coloured
	if err := l.create(ctx); err != nil {
		return err
	}
	l.announce()
	work, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	free := make(chan struct{}, maxForwards)
	err := l.env.follow(work, l.server.String(), func(ctx context.Context, opened func()) error {
		return l.listen(ctx, opened, func(d controlclient.Delivery) error {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			name := l.name
			running.Go(func() {
				l.handle(work, name, d)
				<-free
			})
			return nil
		})
	})
	stop()
	running.Wait()
	l.end(ctx)
	return err
}

// create makes the listener on the server.
func (l *listening) create(ctx context.Context) error {
	w, err := l.server.CreateListener(ctx, l.registry, l.wanted)
	if err != nil {
		return err
	}
	l.name, l.lastSeen = w.Name, l.wallClock()
	l.wanted = controlclient.ListenerCreate{Actions: w.Properties.Actions, Scope: w.Properties.Scope, Location: w.Location}
	return nil
}

// wallClock returns the time as clocks on walls have it: the other clock of a
// machine stands still while that sleeps.
func (l *listening) wallClock() time.Time { return l.now().Round(0) }

// announce says what is listened to, and what a receiver has to know.
func (l *listening) announce() {
	images := "every image"
	if l.wanted.Scope != "" {
		images = l.wanted.Scope
	}
	say := func(format string, args ...any) { fmt.Fprintf(l.env.Stderr, format+"\n", args...) }
	say("listening to registry %s: %s of %s", l.registry, strings.Join(l.wanted.Actions, ", "), images)
	if l.forward != nil {
		say("forwarding to %s", l.forward.url.Redacted())
	} else {
		say("answering 200 to each; with --forward URL a program of yours does")
	}
	l.announceSecret()
	say("Ctrl-C ends it and deletes %s", l.name)
}

func (l *listening) announceSecret() {
	fmt.Fprintf(l.env.Stderr, "signed with a secret: dockbell webhook get-config -r %s -n %s --query signingSecret -o tsv\n", l.registry, l.name)
}

// listen opens the connection. A listener that the server has deleted because
// the connection was gone for too long is made anew.
func (l *listening) listen(ctx context.Context, opened func(), each func(controlclient.Delivery) error) error {
	stood := false
	err := l.server.Listen(ctx, l.registry, l.name, func() { stood = true; opened() }, each)
	if stood {
		l.lastSeen = l.wallClock()
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	if l.wallClock().Sub(l.lastSeen) < keptFor {
		return fault.Wrap(err, fault.NotFound, "%s was deleted by someone: dockbell listen makes another", l.name).WithCode(fault.As(err).Code)
	}
	old, since := l.name, l.lastSeen
	if err := l.create(ctx); err != nil {
		return err
	}
	fmt.Fprintf(l.env.Stderr, "%s was deleted meanwhile, %s takes its place: what happened since %s did not ring here, dockbell events list -r %s shows it\n",
		old, l.name, since.UTC().Format(time.RFC3339), l.registry)
	l.announceSecret()
	return fault.Wrap(err, fault.Unavailable, "listener %s is new", l.name)
}

// handle carries out one delivery to the listener of that name, reports what came
// of it, and prints it.
func (l *listening) handle(ctx context.Context, name string, d controlclient.Delivery) {
	result := controlclient.DeliveryResult{Attempt: d.Attempt, Status: http.StatusOK}
	if l.forward != nil {
		result = l.forward.deliver(ctx, d)
	}
	err := l.server.Report(ctx, l.registry, name, result)
	if ctx.Err() != nil {
		return // what was under way at the end goes with the listener
	}
	l.print(name, d, result, err)
}

// verdict is what an answer means to the server.
type verdict uint8

const (
	delivered verdict = iota
	tried             // again, by itself
	refused           // for good: the receiver does not want this event
	stopped           // the receiver does not want to be rung any more
)

func judge(r controlclient.DeliveryResult) verdict {
	switch {
	case r.Status >= 200 && r.Status <= 299:
		return delivered
	case r.Status == http.StatusGone:
		return stopped
	case r.Status < 400 || r.Status > 499:
		return tried
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return tried
	}
	return refused
}

// print writes a line for a delivery and, where it failed, why and what follows.
func (l *listening) print(name string, d controlclient.Delivery, r controlclient.DeliveryResult, unreported error) {
	var e controlclient.EventBody
	json.Unmarshal([]byte(d.Body), &e) // what cannot be read is left out of the line
	who := d.Actor
	if d.Replay != 0 {
		who = strings.TrimSpace(who + " (replay " + strconv.FormatInt(d.Replay, 10) + ")")
	}
	status := "no answer"
	if r.Status != 0 {
		status = strings.TrimSpace(strconv.Itoa(r.Status) + " " + http.StatusText(r.Status))
	}
	duration := strconv.FormatFloat(r.DurationMs, 'f', 0, 64) + " ms"

	l.mu.Lock()
	defer l.mu.Unlock()
	l.received++
	var out strings.Builder
	out.WriteString(l.columns.line(toSecond(e.Timestamp), e.Action, e.Image(), shortDigest(e.Target.Digest), who, status, duration) + "\n")
	if l.verbose {
		out.WriteString(indented(d.Body))
	}
	if why := l.why(name, d, r, unreported); why != "" {
		out.WriteString("    " + l.env.paint(red, why) + "\n")
	}
	io.WriteString(l.env.Stdout, out.String()) // a terminal that is gone ends the command by its signal
}

// statusColumn is where print has the status.
const statusColumn = 5

func (l *listening) coloured(column int, text string) string {
	switch {
	case column != statusColumn:
		return text
	case strings.HasPrefix(text, "2"):
		return l.env.paint(green, text)
	}
	return l.env.paint(red, text)
}

// why returns the sentence below a line: empty for a success. Callers hold l.mu.
func (l *listening) why(name string, d controlclient.Delivery, r controlclient.DeliveryResult, unreported error) string {
	if unreported != nil {
		l.failed++
		if fault.Is(unreported, fault.NotFound) {
			return "the server did not wait for this answer any more: it sends the event again"
		}
		return "the server did not get this answer, and sends the event again: " + plain(sentence(unreported))
	}
	reason := r.Message
	if r.Error == "" {
		reason = excerpt(r.Body)
	}
	var follows string
	switch judge(r) {
	case delivered:
		l.told = false
		return ""
	case tried:
		follows = "it is tried again by itself"
	case refused:
		follows = "it is not tried again, for the answer says that this event is not wanted"
	case stopped:
		follows = "the server disables the listener, for the answer says that nothing is wanted any more"
	}
	l.failed++
	sentence := plain(strings.TrimPrefix(reason+"; "+follows, "; "))
	if !l.told {
		l.told = true
		sentence += fmt.Sprintf("; at once: dockbell webhook redeliver -r %s -n %s --event %s", l.registry, name, plain(d.EventID))
	}
	return sentence
}

// excerpt returns the beginning of an answer's body as part of a line.
func excerpt(body string) string {
	const most = 120
	text := []rune(strings.Join(strings.Fields(body), " "))
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

// indented returns a JSON body for people to read.
func indented(body string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(body), "    ", "  ") != nil {
		return "    " + plain(body) + "\n"
	}
	var lines strings.Builder
	lines.WriteString("    ")
	for line := range strings.Lines(b.String() + "\n") {
		lines.WriteString(plain(strings.TrimSuffix(line, "\n")) + "\n")
	}
	return lines.String()
}

// end deletes the listener and says what there was.
func (l *listening) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	err := l.server.DeleteListener(ctx, l.registry, l.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	count := strconv.Itoa(l.received) + " received"
	if l.failed > 0 {
		count += ", " + strconv.Itoa(l.failed) + " of them failed"
	}
	switch {
	case err == nil || fault.Is(err, fault.NotFound):
		fmt.Fprintf(l.env.Stderr, "stopped: %s; %s is deleted\n", count, l.name)
	default:
		fmt.Fprintf(l.env.Stderr, "stopped: %s; %s could not be deleted and goes by itself after 10 minutes: %s\n", count, l.name, sentence(err))
	}
}
