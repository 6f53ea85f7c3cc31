package arm

import (
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// admit finds what the path of a request is within, and fails unless the caller
// may have its operation there. To those who may not, what exists and what does
// not look the same: a refusal repeats the path as it was sent.
func (a *api) admit(c *call) error {
	if s := c.place.subscription; s != "" && !strings.EqualFold(s, a.Tenants.Subscription()) {
		return fault.New(fault.NotFound, "the subscription '%s' could not be found: az account list, or GET /subscriptions, shows the one there is", clip(s)).
			WithCode("SubscriptionNotFound")
	}
	switch c.place.level {
	case ofServer:
		return a.allow(c, "/")
	case ofSubscription:
		return a.allow(c, a.subscriptionID())
	case ofGroup:
		return a.admitGroup(c)
	}
	return a.admitRegistry(c)
}

func (a *api) subscriptionID() string { return "/subscriptions/" + a.Tenants.Subscription() }

// allow fails unless the caller may do the operation's action in scope.
func (a *api) allow(c *call, scope string) error {
	if c.route.each || c.caller.May(c.route.action, scope) {
		return nil
	}
	sent := c.place.sent
	if c.place.level == ofServer || c.place.level == ofSubscription {
		sent = scope // there is one of these, and no secret
	}
	return fault.New(fault.Denied, "the client '%s' does not have authorization to perform action '%s' over scope '%s': ask for a role there that has it, and if it was given just now log in again",
		c.user, c.route.action, sent[:min(len(sent), 512)]).WithCode("AuthorizationFailed")
}

func (a *api) admitGroup(c *call) error {
	group, missing := a.Tenants.Group(c.place.group)
	scope := tenant.GroupID(a.Tenants.Subscription(), c.place.group)
	if missing == nil {
		scope = tenant.GroupID(a.Tenants.Subscription(), group.Name)
	}
	if err := a.allow(c, scope); err != nil {
		return err
	}
	c.group = group
	if c.route.each && !c.caller.May(readGroup, scope) {
		return nil // an unknown group looks like one that holds nothing
	}
	if c.Method == http.MethodPut && len(c.place.rest) == 0 {
		return nil
	}
	if missing != nil {
		return missing
	}
	return a.admitTopic(c)
}

func (a *api) admitRegistry(c *call) error {
	p := c.place
	registry, err := a.Tenants.ByName(p.registry)
	if err == nil && (p.group == "" || strings.EqualFold(p.group, registry.ResourceGroup)) {
		err := a.allow(c, registry.ResourceID())
		if err == nil {
			c.registry = registry
			return nil
		}
		if !p.short || c.mayRead(registry) {
			return err
		}
		// Under the short root a name that is unknown is looked for in the default
		// group, and so it must be for one that is hidden.
	}
	group := p.group
	if group == "" {
		group = a.Tenants.Default().ResourceGroup
	}
	would := tenant.Registry{Subscription: a.Tenants.Subscription(), ResourceGroup: group, Name: strings.ToLower(p.registry)}
	if err := a.allow(c, would.ResourceID()); err != nil {
		return err
	}
	if p.group != "" {
		if _, err := a.Tenants.Group(p.group); err != nil {
			return err
		}
	}
	if len(p.rest) == 0 && (c.Method == http.MethodPut || c.Method == http.MethodDelete) {
		return nil // to be created, or gone already
	}
	return tenant.Unknown(p.registry)
}

// mayRead reports whether the caller may see a registry.
func (c call) mayRead(r tenant.Registry) bool { return c.caller.May(readRegistry, r.ResourceID()) }
