package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/ring"
)

func applyCommand(env Env) *cobra.Command {
	a := &application{env: env}
	in := inRegistry{conn: connection{env: env}}
	var file string
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make the webhooks and event subscriptions of a registry what a file says.",
		Long: "Make the webhooks and event subscriptions of a registry what a file says, and show what that changes: + is created, ~ changed,\n" +
			"- deleted. A second time changes nothing. What is not in the file is left alone, unless --prune is given; so is a kind that the\n" +
			"file has no list of. In addresses, in the values of headers and delivery attributes, and in the credentials of brokers ${NAME}\n" +
			"is a variable of the environment; their values are never printed.",
		Example: "  dockbell apply -f hooks.yaml --dry-run\n  dockbell apply -f hooks.yaml -r contoso --prune\n\n" +
			"hooks.yaml:\n\n" +
			"  webhooks:\n" +
			"    - name: deployhook\n" +
			"      uri: https://hooks.example.net/acr\n" +
			"      actions: [push, delete]\n" +
			"      scope: team/web:*\n" +
			"      headers:\n" +
			"        Authorization: Bearer ${DEPLOY_TOKEN}\n" +
			"  eventSubscriptions:\n" +
			"    - name: to-nats\n" +
			"      endpoint: nats://nats.example.net:4222/registry.events\n" +
			"      filter:\n" +
			"        includedEventTypes: [Microsoft.ContainerRegistry.ImagePushed]\n" +
			"        subjectBeginsWith: team/",
		Args: NoArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	in.flags(flags)
	flags.StringVarP(&file, "file", "f", "", "`file` with the webhooks and event subscriptions, in YAML; - is standard input")
	flags.BoolVar(&a.prune, "prune", false, "delete what the registry has of the kinds that the file lists, and the file has not")
	flags.BoolVar(&a.dryRun, "dry-run", false, "show what would be done, and change nothing")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "show what stays as it is, too")
	flags.BoolVar(&a.resend, "resend-secrets", false, "send the credentials and certificates of brokers again, which cannot be compared with those there are")
	Group(flags, "What to apply")
	in.conn.flags(flags)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := require(cmd, "file"); err != nil {
			return err
		}
		var err error
		if a.file, a.wanted, err = env.readHooks(file); err != nil {
			return err
		}
		return in.run(cmd.Context(), func(c *connected, registry string) error {
			a.server, a.registry = c, registry
			return a.run(cmd.Context())
		})
	}
	return cmd
}

// readHooks reads a file, and returns what messages call it.
func (env Env) readHooks(path string) (name string, w wanted, err error) {
	name, in := path, env.Stdin
	if path == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return name, w, fault.Wrap(err, fault.Invalid, "the file cannot be read: %v", err)
		}
		defer f.Close()
		in = f
	}
	content, err := readAtMost(in, name, maxHooksFile)
	if err != nil {
		return name, w, fault.Wrap(err, fault.Invalid, "the file cannot be read: %v", err)
	}
	w, err = (&hooksReader{file: name, getenv: env.Getenv}).read(content)
	return name, w, err
}

// application is one run of dockbell apply.
type application struct {
	env                    Env
	prune, dryRun, verbose bool
	resend                 bool // secrets that cannot be compared

	file     string // what messages call it
	wanted   wanted
	server   *connected
	registry string
}

// step is what becomes of one webhook or event subscription.
type step struct {
	sign    byte   // + is created, ~ changed, - deleted, = left as it is
	kind    string // with a blank behind it; empty for a webhook
	name    string
	details []string
	do      func(context.Context) error // nil for =
}

func (s step) String() string { return string(s.sign) + " " + s.kind + s.name }

func (a *application) run(ctx context.Context) error {
	var steps []step
	var left, kinds []string
	for _, of := range []struct {
		kind   string
		listed bool
		plan   func(context.Context) ([]step, []string, error)
	}{
		{"webhooks", a.wanted.listsHooks, a.planHooks},
		{"event subscriptions", a.wanted.listsSubscriptions, a.planSubscriptions},
	} {
		if !of.listed {
			continue
		}
		more, stay, err := of.plan(ctx)
		if err != nil {
			return err
		}
		steps, left, kinds = append(steps, more...), append(left, stay...), append(kinds, of.kind)
	}
	// What is created or changed comes before what goes.
	slices.SortStableFunc(steps, func(x, y step) int { return cmp.Compare(x.last(), y.last()) })
	if err := a.show(steps); err != nil {
		return err
	}
	if len(left) > 0 {
		a.env.hint("not in %s and left alone, without --prune: %s", a.file, strings.Join(left, ", "))
	}
	var err error
	created, changed, deleted := count(steps, '+'), count(steps, '~'), count(steps, '-')
	switch {
	case a.dryRun:
		_, err = fmt.Fprintf(a.env.Stdout, "%d to create, %d to change, %d to delete\n", created, changed, deleted)
		return err
	case created+changed+deleted == 0:
		_, err = fmt.Fprintf(a.env.Stdout, "nothing to change: the %s of registry %s are as %s has them\n", strings.Join(kinds, " and "), a.registry, a.file)
		return err
	}
	if err := carryOut(ctx, steps); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.env.Stdout, "%d created, %d changed, %d deleted\n", created, changed, deleted)
	return err
}

func count(steps []step, sign byte) int {
	n := 0
	for _, s := range steps {
		if s.sign == sign {
			n++
		}
	}
	return n
}

// last orders steps: 1 for what goes, 0 for all else.
func (s step) last() int {
	if s.sign == '-' {
		return 1
	}
	return 0
}

// planHooks returns what is to be done, and the names of webhooks that are not in the
// file and stay.
func (a *application) planHooks(ctx context.Context) (steps []step, left []string, err error) {
	there, err := a.server.Webhooks(ctx, a.registry)
	if err != nil {
		return nil, nil, err
	}
	byName := map[string]controlclient.Webhook{}
	for _, w := range there {
		byName[strings.ToLower(w.Name)] = w
	}
	home := ""
	for _, want := range a.wanted.hooks {
		have, exists := byName[strings.ToLower(want.name)]
		delete(byName, strings.ToLower(want.name))
		switch {
		case !exists && want.location == "" && home == "":
			r, err := a.server.Registry(ctx, a.registry)
			if err != nil {
				return nil, nil, err
			}
			home = r.Location
		case exists && have.Properties.Listener:
			return nil, nil, fault.New(fault.Conflict, "%s: %s is a listener of dockbell listen, which goes by itself: choose another name", want.place, have.Name)
		case exists && want.location != "" && normalLocation(want.location) != normalLocation(have.Location):
			return nil, nil, fault.New(fault.Conflict, "%s: webhook %s is in location %s and cannot move to %s: leave location out, or delete the webhook first",
				want.place, have.Name, have.Location, want.location)
		}
		if !exists {
			steps = append(steps, a.create(want, home))
			continue
		}
		secrets, err := a.server.CallbackConfig(ctx, a.registry, have.Name)
		if err != nil {
			return nil, nil, err
		}
		steps = append(steps, a.change(want, have, secrets))
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		w := byName[name]
		switch {
		case w.Properties.Listener:
		case a.prune:
			steps = append(steps, step{sign: '-', name: w.Name, do: func(ctx context.Context) error {
				_, err := a.server.DeleteWebhook(ctx, a.registry, w.Name)
				return err
			}})
		default:
			left = append(left, w.Name)
		}
	}
	return steps, left, nil
}

// normalLocation writes a region as Azure does: East US is eastus.
func normalLocation(location string) string {
	return strings.ToLower(strings.ReplaceAll(location, " ", ""))
}

// create returns the step that makes a webhook; home is the registry's location.
func (a *application) create(want wantedHook, home string) step {
	def := controlclient.WebhookCreate{
		Location: cmp.Or(want.location, home),
		Tags:     want.tags,
		Properties: controlclient.WebhookCreateProperties{
			ServiceURI:       want.uri,
			CustomHeaders:    want.headers,
			Status:           want.status,
			Scope:            want.scope,
			Actions:          want.actions,
			SignatureHeaders: want.signatures,
			EventTypePrefix:  want.typePrefix,
			FlatData:         want.flatData,
		},
	}
	if want.policy != ring.Default() {
		def.Properties.RetryPolicy = wirePolicy(want.policy)
	}
	if want.format != "acr" {
		def.Properties.Format = want.format
	}
	if want.handshake != handshakeOf(want.format) {
		def.Properties.Handshake = want.handshake
	}
	return step{sign: '+', name: want.name, do: func(ctx context.Context) error {
		a.env.warnOfScope(want.scope)
		w, err := a.server.PutWebhook(ctx, a.registry, want.name, def)
		a.env.warnOfConsent(a.registry, w)
		return err
	}}
}

// change returns the step that makes a webhook what is wanted.
func (a *application) change(want wantedHook, have controlclient.Webhook, secrets controlclient.CallbackConfig) step {
	u, details := difference(want, have, secrets)
	if details == nil {
		return step{sign: '=', name: have.Name}
	}
	return step{sign: '~', name: have.Name, details: details, do: func(ctx context.Context) error {
		if u.Properties.Scope != nil {
			a.env.warnOfScope(want.scope)
		}
		w, err := a.server.PatchWebhook(ctx, a.registry, have.Name, u)
		a.env.warnOfConsent(a.registry, w)
		return err
	}}
}

// difference returns the update that makes a webhook what is wanted, and what it
// changes, in words without secrets; nil for nothing.
func difference(want wantedHook, have controlclient.Webhook, secrets controlclient.CallbackConfig) (u controlclient.WebhookUpdate, details []string) {
	p := &u.Properties
	differs := func(format string, args ...any) { details = append(details, fmt.Sprintf(format, args...)) }

	if want.uri != secrets.ServiceURI {
		p.ServiceURI = &want.uri
		if from, to := origin(secrets.ServiceURI), origin(want.uri); from != to {
			differs("uri: %s -> %s", from, to)
		} else {
			differs("uri: changed")
		}
	}
	if from, to := inOrder(have.Properties.Actions, webhookActions), inOrder(want.actions, webhookActions); !slices.Equal(from, to) {
		p.Actions = want.actions
		differs("actions: %s -> %s", strings.Join(from, ", "), strings.Join(to, ", "))
	}
	if have.Properties.Scope != want.scope {
		p.Scope = &want.scope
		differs("scope: %q -> %q", have.Properties.Scope, want.scope)
	}
	if !strings.EqualFold(have.Properties.Status, want.status) {
		p.Status = &want.status
		differs("status: %s -> %s", have.Properties.Status, want.status)
	}
	if !maps.Equal(have.Tags, want.tags) {
		u.Tags = want.tags
		for _, name := range union(have.Tags, want.tags) {
			if from, to := quoted(have.Tags, name), quoted(want.tags, name); from != to {
				differs("tag %s: %s -> %s", name, from, to)
			}
		}
	}
	if headers := canonical(secrets.CustomHeaders); !maps.Equal(headers, want.headers) {
		for _, name := range union(headers, want.headers) {
			_, before := headers[name]
			_, after := want.headers[name]
			switch {
			case !before:
				differs("header %s: added", name)
			case !after:
				differs("header %s: removed", name)
			case headers[name] != want.headers[name]:
				differs("header %s: changed", name)
			}
		}
		p.CustomHeaders = want.headers
	}
	if policy := policyOf(have.Properties.RetryPolicy); policy != want.policy {
		p.RetryPolicy = wirePolicy(want.policy)
		from, to := policyWords(policy), policyWords(want.policy)
		for i, member := range policyMembers {
			if from[i] != to[i] {
				differs("retryPolicy.%s: %s -> %s", member, from[i], to[i])
			}
		}
	}
	if from, to := inOrder(have.Properties.SignatureHeaders, signatureStyles), inOrder(want.signatures, signatureStyles); !slices.Equal(from, to) {
		p.SignatureHeaders = append([]string{}, want.signatures...) // not nil, which would keep them
		differs("signatureHeaders: %s -> %s", cmp.Or(strings.Join(from, ", "), "none"), cmp.Or(strings.Join(to, ", "), "none"))
	}
	if from := cmp.Or(have.Properties.Format, "acr"); from != want.format {
		p.Format = &want.format
		differs("format: %s -> %s", from, want.format)
	}
	if from := cmp.Or(have.Properties.Handshake, "none"); from != want.handshake || p.Format != nil {
		p.Handshake = &want.handshake // said with the format, which may bring another
		if from != want.handshake {
			differs("handshake: %s -> %s", from, want.handshake)
		}
	}
	if from := have.Properties.EventTypePrefix; from != want.typePrefix {
		differs("eventTypePrefix: %s -> %s", cmp.Or(from, "none"), cmp.Or(want.typePrefix, "none"))
		p.EventTypePrefix = &want.typePrefix
	}
	if from := have.Properties.FlatData; from != want.flatData {
		differs("flatData: %v -> %v", from, want.flatData)
		p.FlatData = &want.flatData
	}
	return u, details
}

// origin returns what of an address is no secret.
func origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "(no address)"
	}
	return u.Scheme + "://" + u.Host
}

// inOrder returns words, each once, as known has them and in its order; those it
// does not have, from a newer server, come last.
func inOrder(words, known []string) []string {
	rank := func(word string) int {
		i := slices.Index(known, word)
		if i < 0 {
			i = len(known)
		}
		return i
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToLower(w)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
	return slices.Compact(out)
}

// union returns the names of two maps, in order.
func union(a, b map[string]string) []string {
	names := maps.Clone(a)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, b)
	return slices.Sorted(maps.Keys(names))
}

func quoted(m map[string]string, name string) string {
	if value, ok := m[name]; ok {
		return strconv.Quote(value)
	}
	return "none"
}

// canonical returns headers by their canonical names.
func canonical(headers map[string]string) map[string]string {
	out := make(map[string]string, len(headers))
	for name, value := range headers {
		out[http.CanonicalHeaderKey(name)] = value
	}
	return out
}

// policyOf returns a policy as the server shows it: what is absent is the
// default.
func policyOf(w *controlclient.RetryPolicy) ring.Policy {
	p := ring.Default()
	if w == nil {
		return p
	}
	if w.MaxDeliveryAttempts != nil {
		p.MaxAttempts = *w.MaxDeliveryAttempts
	}
	if w.EventTimeToLiveInMinutes != nil {
		p.TTL = time.Duration(*w.EventTimeToLiveInMinutes) * time.Minute
	}
	if w.TimeoutInSeconds != nil {
		p.Timeout = time.Duration(*w.TimeoutInSeconds) * time.Second
	}
	if w.Order != nil {
		p.Order = ring.Order(*w.Order)
	}
	if w.MaxPerMinute != nil {
		p.PerMinute = *w.MaxPerMinute
	}
	return p
}

// wirePolicy returns a policy with all its members, so that none stays as it is.
func wirePolicy(p ring.Policy) *controlclient.RetryPolicy {
	return &controlclient.RetryPolicy{
		MaxDeliveryAttempts:      &p.MaxAttempts,
		EventTimeToLiveInMinutes: new(int(p.TTL / time.Minute)),
		TimeoutInSeconds:         new(int(p.Timeout / time.Second)),
		Order:                    new(string(p.Order)),
		MaxPerMinute:             &p.PerMinute,
	}
}

// policyMembers are the members of a policy, in the order of policyWords.
var policyMembers = [...]string{"maxDeliveryAttempts", "eventTimeToLiveInMinutes", "timeoutInSeconds", "order", "maxPerMinute"}

func policyWords(p ring.Policy) [len(policyMembers)]string {
	w := wirePolicy(p)
	return [...]string{
		strconv.Itoa(*w.MaxDeliveryAttempts), strconv.Itoa(*w.EventTimeToLiveInMinutes), strconv.Itoa(*w.TimeoutInSeconds), *w.Order, strconv.Itoa(*w.MaxPerMinute),
	}
}

// show prints the steps, a line each; what stays as it is only if asked.
func (a *application) show(steps []step) error {
	colours := map[byte]string{'+': green, '~': yellow, '-': red, '=': grey}
	var out strings.Builder
	for _, s := range steps {
		if s.sign == '=' && !a.verbose {
			continue
		}
		line := s.String()
		if s.details != nil {
			line += "  " + strings.Join(s.details, "; ")
		}
		out.WriteString(a.env.paint(colours[s.sign], plain(line)) + "\n")
	}
	_, err := io.WriteString(a.env.Stdout, out.String())
	return err
}

// carryOut does the steps in order. Where one fails, the error says what was done
// and what was not.
func carryOut(ctx context.Context, steps []step) error {
	steps = slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return s.do == nil })
	for i, s := range steps {
		err := s.do(ctx)
		if err == nil {
			continue
		}
		f := fault.As(err)
		notDone, doubt := steps[i:], ""
		if f.Kind == fault.Unavailable || f.Kind == fault.Internal {
			notDone, doubt = steps[i+1:], " (whether "+s.String()+" was done is not known)"
		}
		return fault.Wrap(err, f.Kind, "%s%s: %s%s; done: %s; not done: %s; apply the file again when that is mended",
			cmp.Or(s.kind, "webhook "), s.name, sentence(err), doubt, names(steps[:i]), names(notDone)).WithCode(f.Code)
	}
	return nil
}

func names(steps []step) string {
	if len(steps) == 0 {
		return "nothing"
	}
	words := make([]string, len(steps))
	for i, s := range steps {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}
