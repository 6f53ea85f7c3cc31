package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func (h *webhooks) update() *cobra.Command {
	s := settings{}
	var generic []change
	var forceString bool
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Change a webhook; what is not given stays as it is.",
		Long: "Change a webhook; what is not given stays as it is.\n" +
			"Of the three PEM files, though, giving one replaces all; \"\" stands for none.",
		Example: "  dockbell webhook update -r contoso -n deployhook --status disabled\n  dockbell webhook update -r contoso -n deployhook --headers \"\" --set tags.team=core",
	}
	define := func(cmd *cobra.Command) {
		s.flags(cmd)
		flags := cmd.Flags()
		flags.Var(&changeValue{&generic, set}, "set", "change properties, as name=value: status=disabled, tags.team=core")
		flags.Var(&changeValue{&generic, add}, "add", "add to a list: actions delete")
		flags.Var(&changeValue{&generic, remove}, "remove", "clear a property, or take something out of it: scope, tags.team, actions 0")
		flags.BoolVar(&forceString, "force-string", false, "take the values of --set as they are, not as JSON")
		Group(flags, "As az update commands have it")
	}
	return h.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		u, err := s.changes(cmd.Flags())
		if err != nil {
			return err
		}
		e := editor{
			update:      &u,
			forceString: forceString,
			webhook:     func() (controlclient.Webhook, error) { return c.Webhook(ctx, registry, h.name) },
			config:      func() (controlclient.CallbackConfig, error) { return c.CallbackConfig(ctx, registry, h.name) },
		}
		for _, g := range generic {
			if err := e.apply(g); err != nil {
				return err
			}
		}
		if u.Properties.Scope != nil {
			h.env.warnOfScope(*u.Properties.Scope)
		}
		w, err := c.PatchWebhook(ctx, registry, h.name, u)
		if err != nil {
			return err
		}
		h.env.warnOfConsent(registry, w)
		return h.out.print(webhookView(w), h.out.webhookTable(w))
	})
}

// verb is what a generic change does.
type verb string

const (
	set    verb = "set"
	add    verb = "add"
	remove verb = "remove"
)

// change is one occurrence of --set, --add or --remove with its values.
type change struct {
	verb verb
	args []string
}

// changeValue collects the generic changes of all three flags in the order given.
type changeValue struct {
	changes *[]change
	verb    verb
}

// Set adds an occurrence; gather has joined its values.
func (v *changeValue) Set(s string) error {
	*v.changes = append(*v.changes, change{v.verb, strings.Split(s, separator)})
	return nil
}

// String returns nothing, which is the default that help shows.
func (v *changeValue) String() string { return "" }

// Type returns the word for the value in help.
func (v *changeValue) Type() string { return listType }

// editor applies generic changes to an update. Whoever changes one member of a
// map or list means to keep the others, so those are asked for first.
type editor struct {
	update      *controlclient.WebhookUpdate
	forceString bool
	webhook     func() (controlclient.Webhook, error)
	config      func() (controlclient.CallbackConfig, error)
}

func (e *editor) apply(c change) error {
	switch c.verb {
	case set:
		for _, arg := range c.args {
			path, value, ok := strings.Cut(arg, "=")
			if !ok {
				return Usage("--set %s has no value: write name=value", arg)
			}
			if err := e.set(path, value); err != nil {
				return err
			}
		}
		return nil
	case add:
		if property, _ := splitProperty(c.args[0]); property != "actions" || len(c.args) < 2 {
			return Usage("--add %s: only actions is a list, for example --add actions delete", strings.Join(c.args, " "))
		}
		if err := e.loadActions(); err != nil {
			return err
		}
		return e.setActions(append(e.update.Properties.Actions, c.args[1:]...))
	default:
		path := c.args[0]
		if len(c.args) == 2 {
			path += "." + c.args[1]
		}
		return e.remove(path)
	}
}

// The properties a generic change may name.
var properties = []string{"status", "scope", "serviceUri", "customHeaders", "actions", "tags"}

// splitProperty splits a path at its first dot and returns the property as JSON
// has it; snake case and the prefix properties are az's other ways to write it.
func splitProperty(path string) (property, key string) {
	path = strings.TrimPrefix(path, "properties.")
	name, key, _ := strings.Cut(path, ".")
	for _, p := range properties {
		if strings.EqualFold(strings.ReplaceAll(name, "_", ""), p) {
			return p, key
		}
	}
	return "", ""
}

func unknownProperty(path string) error {
	return Usage("a webhook has no property %s that can be changed%s: there are %s", path, didYouMean(path, properties), strings.Join(properties, ", "))
}

func (e *editor) set(path, value string) error {
	p := &e.update.Properties
	property, key := splitProperty(path)
	switch property {
	case "status":
		status, err := choose(e.text(value), webhookStatuses)
		if err != nil {
			return Usage("--set status: %s", err)
		}
		p.Status = &status
	case "scope":
		p.Scope = new(e.text(value))
	case "serviceUri":
		p.ServiceURI = new(e.text(value))
	case "actions":
		var actions []string
		if e.forceString || json.Unmarshal([]byte(value), &actions) != nil {
			actions = []string{value}
		}
		return e.setActions(actions)
	case "tags", "customHeaders":
		if key == "" {
			return e.setMap(property, value)
		}
		m, err := e.loadMap(property)
		if err != nil {
			return err
		}
		m[key] = e.text(value)
	default:
		return unknownProperty(path)
	}
	return nil
}

// setMap replaces all tags or headers.
func (e *editor) setMap(property, value string) error {
	m := map[string]string{}
	if err := json.Unmarshal([]byte(value), &m); err != nil || m == nil {
		return Usage(`--set %s needs a JSON object of strings like '{"name":"value"}', or one member like %s.name=value`, property, property) // the value may be secret
	}
	*e.stringMap(property) = m
	return nil
}

func (e *editor) remove(path string) error {
	property, key := splitProperty(path)
	switch {
	case property == "scope" && key == "":
		e.update.Properties.Scope = new("")
	case (property == "tags" || property == "customHeaders") && key == "":
		*e.stringMap(property) = map[string]string{}
	case property == "tags", property == "customHeaders":
		m, err := e.loadMap(property)
		if err != nil {
			return err
		}
		if _, ok := m[key]; !ok {
			return Usage("--remove %s: %s has no %s", path, property, key)
		}
		delete(m, key)
	case property == "actions" && key != "":
		if err := e.loadActions(); err != nil {
			return err
		}
		actions := e.update.Properties.Actions
		i, err := strconv.Atoi(key)
		if err != nil {
			i = slices.IndexFunc(actions, func(a string) bool { return strings.EqualFold(a, key) })
		}
		if i < 0 || i >= len(actions) {
			return Usage("--remove actions %s: the webhook's actions are %s", key, strings.Join(actions, ", "))
		}
		return e.setActions(slices.Delete(actions, i, i+1))
	case property == "":
		return unknownProperty(path)
	default:
		return Usage("--remove %s: a webhook cannot be without it", path)
	}
	return nil
}

// text returns a value as az reads it: a JSON string without its quotes, unless
// --force-string is given; anything else as it is.
func (e *editor) text(value string) string {
	var s string
	if !e.forceString && json.Unmarshal([]byte(value), &s) == nil {
		return s
	}
	return value
}

func (e *editor) setActions(names []string) error {
	actions, err := chooseAll(names, webhookActions)
	if err != nil {
		return Usage("actions: %s", err)
	}
	e.update.Properties.Actions = actions
	return nil
}

// loadActions makes the update hold the actions there are, if it has none yet.
func (e *editor) loadActions() error {
	if e.update.Properties.Actions != nil {
		return nil
	}
	w, err := e.webhook()
	e.update.Properties.Actions = w.Properties.Actions
	return err
}

func (e *editor) stringMap(property string) *map[string]string {
	if property == "tags" {
		return &e.update.Tags
	}
	return &e.update.Properties.CustomHeaders
}

// loadMap makes the update hold the tags or headers there are, if it has none
// yet, and returns them.
func (e *editor) loadMap(property string) (map[string]string, error) {
	m := e.stringMap(property)
	if *m != nil {
		return *m, nil
	}
	if property == "tags" {
		w, err := e.webhook()
		if err != nil {
			return nil, err
		}
		*m = w.Tags
	} else {
		cfg, err := e.config()
		if err != nil {
			return nil, err
		}
		*m = cfg.CustomHeaders
	}
	if *m == nil {
		*m = map[string]string{}
	}
	return *m, nil
}
