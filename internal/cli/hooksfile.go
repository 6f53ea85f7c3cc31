package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/ring"
)

// What a file may say beside the words of the flags.
var (
	orders          = []string{string(ring.PerTag), string(ring.PerRepository), string(ring.Unordered)}
	signatureStyles = []string{"github", "flux"}
)

// wantedHook is a webhook as a file has it, complete: what the file leaves out is
// what a new webhook has.
type wantedHook struct {
	place string // file and line, for messages

	name       string
	location   string // empty: the registry's
	uri        string // secret
	actions    []string
	scope      string
	status     string
	tags       map[string]string
	headers    map[string]string // values secret
	policy     ring.Policy
	signatures []string
	format     string
	handshake  string // empty only while it is read: that of the format
	typePrefix string
	flatData   bool
}

// wanted is what a file says: of the kinds that it lists, all there is to be.
type wanted struct {
	hooks         []wantedHook
	subscriptions []wantedSubscription

	listsHooks, listsSubscriptions bool
}

// hooksReader reads a file: YAML documents, each with a list under webhooks, under
// eventSubscriptions, or both. No message of it repeats what may be secret.
type hooksReader struct {
	file   string // its name, for messages
	getenv func(string) string

	places map[string]string // of what was read, by name in lower case
}

// maxHooksFile bounds a file of webhooks, in bytes.
const maxHooksFile = 4 << 20

// read returns what a file says, all checked as far as that can be done without the
// server.
func (r *hooksReader) read(content []byte) (w wanted, err error) {
	r.places = map[string]string{}
	in := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var doc yaml.Node
		err := in.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return wanted{}, r.noYAML(err)
		}
		if doc.Kind != yaml.DocumentNode || isNull(doc.Content[0]) {
			continue // empty, or comments
		}
		err = r.members(doc.Content[0], "the file", map[string]func(*yaml.Node) error{
			"webhooks": func(n *yaml.Node) error {
				w.listsHooks = true
				return r.elements(n, "webhooks", func(n *yaml.Node) error {
					hook, err := r.hook(n)
					w.hooks = append(w.hooks, hook)
					return err
				})
			},
			"eventSubscriptions": func(n *yaml.Node) error {
				w.listsSubscriptions = true
				return r.elements(n, "eventSubscriptions", func(n *yaml.Node) error {
					s, err := r.subscription(n)
					w.subscriptions = append(w.subscriptions, s)
					return err
				})
			},
		})
		if err != nil {
			return wanted{}, err
		}
	}
	if !w.listsHooks && !w.listsSubscriptions {
		return wanted{}, fault.New(fault.Invalid, "%s has no key webhooks or eventSubscriptions: begin it with one of them and a colon, and list them below, or write webhooks: [] for none", r.file)
	}
	return w, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// noYAML puts the place of a syntax error where our own messages have it.
func (r *hooksReader) noYAML(err error) error {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil || m[1] == "" {
		return fault.Wrap(err, fault.Invalid, "%s is no YAML: %s", r.file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return fault.Wrap(err, fault.Invalid, "%s:%s: this is no YAML: %s", r.file, m[1], m[2])
}

func (r *hooksReader) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.file, n.Line) }

func (r *hooksReader) refuse(n *yaml.Node, format string, args ...any) error {
	return fault.New(fault.Invalid, "%s: %s", r.place(n), fmt.Sprintf(format, args...))
}

// hook reads one element of the list.
func (r *hooksReader) hook(n *yaml.Node) (wantedHook, error) {
	h := wantedHook{place: r.place(n), status: webhookStatuses[0], tags: map[string]string{}, headers: map[string]string{}, policy: ring.Default(), format: webhookFormats[0]}
	err := r.members(n, "a webhook", map[string]func(*yaml.Node) error{
		"name":      r.text(&h.name, "name", checkHookName),
		"location":  r.text(&h.location, "location", nil),
		"uri":       r.secret(&h.uri, "uri", checkHookURI),
		"scope":     r.text(&h.scope, "scope", checkHookScope),
		"status":    r.word(&h.status, "status", webhookStatuses),
		"format":    r.word(&h.format, "format", webhookFormats),
		"handshake": r.word(&h.handshake, "handshake", handshakes),

		"eventTypePrefix": r.text(&h.typePrefix, "eventTypePrefix", event.CheckTypePrefix),
		"flatData":        r.truth(&h.flatData, "flatData"),
		"actions": func(n *yaml.Node) error {
			return r.words(&h.actions, n, "actions", webhookActions)
		},
		"signatureHeaders": func(n *yaml.Node) error {
			return r.words(&h.signatures, n, "signatureHeaders", signatureStyles)
		},
		"tags": func(n *yaml.Node) error {
			return r.pairs(n, "tags", func(name string, value *yaml.Node) error {
				var text string
				err := r.text(&text, "tag "+name, nil)(value)
				h.tags[name] = text
				return err
			})
		},
		"headers": func(n *yaml.Node) error {
			return r.pairs(n, "headers", func(name string, value *yaml.Node) error {
				canonical := http.CanonicalHeaderKey(name)
				if _, twice := h.headers[canonical]; twice {
					return r.refuse(value, "header %s is given twice: the case of its name does not matter", clipped(canonical))
				}
				var text string
				err := r.secret(&text, "header "+clipped(name), nil)(value)
				h.headers[canonical] = text
				return err
			})
		},
		"retryPolicy": func(n *yaml.Node) error { return r.policy(&h.policy, n) },
	})
	if err != nil {
		return h, err
	}
	switch {
	case h.name == "":
		return h, r.refuse(n, "the webhook has no name: add one of 5 to 50 letters and digits, for example name: deployhook")
	case h.uri == "":
		return h, r.refuse(n, "webhook %s has no uri: add the address to ring, for example uri: https://hooks.example.net/acr", h.name)
	case h.actions == nil:
		return h, r.refuse(n, "webhook %s has no actions: add what rings, for example actions: [push, delete]", h.name)
	}
	if !tellsCloudEvents(h.format) && (h.typePrefix != "" || h.flatData) {
		return h, r.refuse(n, "webhook %s has eventTypePrefix or flatData, and the format %s, which has neither: leave them out, or use the format cloudevents or cloudevents-binary", h.name, h.format)
	}
	h.handshake = cmp.Or(h.handshake, handshakeOf(h.format))
	key := strings.ToLower(h.name)
	if first := r.places[key]; first != "" {
		return h, r.refuse(n, "webhook %s is listed already at %s: names are compared without case", h.name, first)
	}
	r.places[key] = h.place
	return h, nil
}

// handshakeOf returns the handshake of a format for which none is chosen.
func handshakeOf(format string) string {
	if tellsCloudEvents(format) {
		return "cloudevents"
	}
	return "none"
}

func tellsCloudEvents(format string) bool { return strings.HasPrefix(format, "cloudevents") }

// policy reads a retry policy on top of what p has.
func (r *hooksReader) policy(p *ring.Policy, n *yaml.Node) error {
	seconds, minutes := int(p.Timeout/time.Second), int(p.TTL/time.Minute)
	order := string(p.Order)
	err := r.members(n, "a retryPolicy", map[string]func(*yaml.Node) error{
		"maxDeliveryAttempts":      r.number(&p.MaxAttempts, "maxDeliveryAttempts"),
		"eventTimeToLiveInMinutes": r.number(&minutes, "eventTimeToLiveInMinutes"),
		"timeoutInSeconds":         r.number(&seconds, "timeoutInSeconds"),
		"order":                    r.word(&order, "order", orders),
		"maxPerMinute":             r.number(&p.PerMinute, "maxPerMinute"),
	})
	if err != nil {
		return err
	}
	p.Timeout, p.TTL, p.Order = time.Duration(seconds)*time.Second, time.Duration(minutes)*time.Minute, ring.Order(order)
	if err := p.Check(); err != nil {
		return r.refuse(n, "retryPolicy: %s", sentence(err))
	}
	return nil
}

// members calls, for each member of a mapping, what of known is for its key. A
// key that is not there, or is there twice, is refused. Nothing is an empty
// mapping.
func (r *hooksReader) members(n *yaml.Node, what string, known map[string]func(*yaml.Node) error) error {
	return r.mapping(n, what, func(key, value *yaml.Node) error {
		set := known[key.Value]
		if set == nil {
			names := slices.Sorted(maps.Keys(known))
			return r.refuse(key, "%s has no key %q%s: there are %s", what, clipped(key.Value), didYouMean(key.Value, names), strings.Join(names, ", "))
		}
		return set(value)
	})
}

// pairs calls set for each member of a mapping whose keys are anyone's choice.
func (r *hooksReader) pairs(n *yaml.Node, what string, set func(name string, value *yaml.Node) error) error {
	return r.mapping(n, what, func(key, value *yaml.Node) error {
		if key.Value == "" {
			return r.refuse(key, "%s: a name is empty", what)
		}
		return set(key.Value, value)
	})
}

func (r *hooksReader) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node) error) error {
	n = behind(n)
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return r.refuse(n, "%s is written as lines of name: value", what)
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], behind(n.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			return r.refuse(key, "%s: a key has to be a word", what)
		}
		if seen[key.Value] {
			return r.refuse(key, "%s: key %q is there twice", what, clipped(key.Value))
		}
		seen[key.Value] = true
		if err := each(key, value); err != nil {
			return err
		}
	}
	return nil
}

// elements calls each for the elements of a list. Nothing is an empty list.
func (r *hooksReader) elements(n *yaml.Node, what string, each func(*yaml.Node) error) error {
	n = behind(n)
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return r.refuse(n, "%s is a list: write each element on a line that begins with a dash, or all as [a, b]", what)
	}
	for _, element := range n.Content {
		if err := each(behind(element)); err != nil {
			return err
		}
	}
	return nil
}

// text reads a single value, whatever YAML takes it for. Nothing leaves dest as
// it is.
func (r *hooksReader) text(dest *string, what string, check func(string) error) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if isNull(n) {
			return nil
		}
		if n.Kind != yaml.ScalarNode {
			return r.refuse(n, "%s is a single value", what)
		}
		if check != nil {
			if err := check(n.Value); err != nil {
				return r.refuse(n, "%s", err)
			}
		}
		*dest = n.Value
		return nil
	}
}

// secret is text in which ${NAME} stands for a variable of the environment.
func (r *hooksReader) secret(dest *string, what string, check func(string) error) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		var text string
		if err := r.text(&text, what, nil)(n); err != nil {
			return err
		}
		text, err := r.expand(text)
		if err == nil && check != nil && text != "" {
			err = check(text)
		}
		if err != nil {
			return r.refuse(n, "%s: %s", what, err)
		}
		*dest = text
		return nil
	}
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand puts variables of the environment in the place of ${NAME}. $${ stands
// for ${. What a variable holds is taken as it is.
func (r *hooksReader) expand(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), nil
		}
		if literal, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(literal + "${")
			text = rest
			continue
		}
		b.WriteString(before)
		name, rest, closed := strings.Cut(rest, "}")
		if !closed || !variable.MatchString(name) {
			return "", errors.New("behind ${ there is no name of a variable with a } at its end: write ${NAME}, or $${ where you mean ${ itself")
		}
		value := r.getenv(name)
		if value == "" {
			return "", fmt.Errorf("the variable %s is not set, or empty: set it in the environment of this command", name)
		}
		b.WriteString(value)
		text = rest
	}
}

// word reads one of a few words, in any case.
func (r *hooksReader) word(dest *string, what string, allowed []string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		var text string
		if err := r.text(&text, what, nil)(n); err != nil || text == "" {
			return err
		}
		chosen, err := choose(text, allowed)
		if err != nil {
			return r.refuse(n, "%s: %s", what, err)
		}
		*dest = chosen
		return nil
	}
}

// words reads a list of some of a few words, in any case, each once.
func (r *hooksReader) words(dest *[]string, n *yaml.Node, what string, allowed []string) error {
	return r.elements(n, what, func(n *yaml.Node) error {
		var one string
		if err := r.word(&one, what, allowed)(n); err != nil {
			return err
		}
		if one != "" && !slices.Contains(*dest, one) {
			*dest = append(*dest, one)
		}
		return nil
	})
}

// number reads a whole number.
func (r *hooksReader) number(dest *int, what string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if isNull(n) {
			return nil
		}
		value, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			return r.refuse(n, "%s is a whole number", what)
		}
		*dest = value
		return nil
	}
}

// truth reads true or false.
func (r *hooksReader) truth(dest *bool, what string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if isNull(n) {
			return nil
		}
		if n.Kind != yaml.ScalarNode || !isTruth(n.Value) {
			return r.refuse(n, "%s is true or false", what)
		}
		*dest = strings.EqualFold(n.Value, "true")
		return nil
	}
}

// behind returns the node that an alias stands for.
func behind(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// clipped shortens a word of a file for a message.
func clipped(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// checkHookName is the server's rule for names.
func checkHookName(name string) error {
	bad := func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') }
	if len(name) < 5 || len(name) > 50 || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("webhook name %q breaks the rule: use 5 to 50 letters and digits, for example deployhook", clipped(name))
	}
	return nil
}

// checkHookURI checks the form of an address, which may be secret.
func checkHookURI(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("this is no http or https address: write one like https://hooks.example.net/acr")
	}
	return nil
}

// checkHookScope checks the form of a scope: what comes before and behind the
// colon, either with a * at its end.
func checkHookScope(scope string) error {
	if scope == "" {
		return nil
	}
	repository, tag, hasTag := strings.Cut(scope, ":")
	if !hasTag {
		tag = "latest"
	}
	_, badRepository := oci.ParseRepository(beginning(repository))
	_, badTag := oci.ParseTag(beginning(tag))
	if badRepository != nil || badTag != nil || repository == "*" && tag == "*" || !hasTag && strings.HasSuffix(repository, "*") {
		return fmt.Errorf("scope %q is not valid: use repo:tag, repo:*, team/*:*, repo:v1*, or leave it out for every event of the registry", clipped(scope))
	}
	return nil
}

// beginning returns, for a text with a * at its end, one that begins so.
func beginning(pattern string) string {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return prefix + "a"
	}
	return pattern
}
