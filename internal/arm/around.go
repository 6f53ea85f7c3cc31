package arm

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// What clients ask of Azure around registries: where they are, and who offers
// them. There is one subscription and one directory, which ARM calls a tenant.

// displayName is what the subscription and the directory are called.
const displayName = "Dockbell"

// The wire forms of it.
type (
	subscriptionBody struct {
		ID             string `json:"id"`
		SubscriptionID string `json:"subscriptionId"`
		TenantID       string `json:"tenantId"`
		DisplayName    string `json:"displayName"`
		State          string `json:"state"`
	}
	directoryBody struct {
		ID          string `json:"id"`
		TenantID    string `json:"tenantId"`
		DisplayName string `json:"displayName"`
	}
	locationBody struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
	}
	groupInput struct {
		Location member[string]            `json:"location"`
		Tags     member[map[string]string] `json:"tags"`
	}
	groupBody struct {
		ID         string            `json:"id"`
		Name       string            `json:"name"`
		Type       string            `json:"type"`
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags"`
		Properties stateBody         `json:"properties"`
	}
	stateBody struct {
		ProvisioningState string `json:"provisioningState"`
	}
	resourceBody struct {
		ID       string            `json:"id"`
		Name     string            `json:"name"`
		Type     string            `json:"type"`
		SKU      *skuBody          `json:"sku,omitempty"`
		Location string            `json:"location"`
		Tags     map[string]string `json:"tags"`

		// These are there for those who ask.
		CreatedTime       string `json:"createdTime,omitempty"`
		ChangedTime       string `json:"changedTime,omitempty"`
		ProvisioningState string `json:"provisioningState,omitempty"`
	}
	providerBody struct {
		ID                 string         `json:"id"`
		Namespace          string         `json:"namespace"`
		RegistrationState  string         `json:"registrationState"`
		RegistrationPolicy string         `json:"registrationPolicy"`
		ResourceTypes      []resourceType `json:"resourceTypes"`
	}
	resourceType struct {
		ResourceType string   `json:"resourceType"`
		Locations    []string `json:"locations"`
		APIVersions  []string `json:"apiVersions"`
	}
	operationBody struct {
		Name         string           `json:"name"`
		IsDataAction bool             `json:"isDataAction"`
		Origin       string           `json:"origin"`
		Display      operationDisplay `json:"display"`
	}
	operationDisplay struct {
		Provider    string `json:"provider"`
		Resource    string `json:"resource"`
		Operation   string `json:"operation"`
		Description string `json:"description"`
	}
)

// seesSubscription reports whether the caller may read the subscription, or
// anything in it: who has a role on one registry finds the way there.
func (a *api) seesSubscription(c call) bool {
	return c.caller.May(aSubscription+"/read", a.subscriptionID()) ||
		slices.ContainsFunc(a.Tenants.Groups(), func(g tenant.Group) bool { return c.mayReadGroup(a, g) }) ||
		slices.ContainsFunc(a.Tenants.List(), c.mayRead)
}

func (c call) mayReadGroup(a *api, g tenant.Group) bool {
	return c.caller.May(readGroup, tenant.GroupID(a.Tenants.Subscription(), g.Name))
}

func (a *api) subscriptionToWire() subscriptionBody {
	id := a.Tenants.Subscription()
	return subscriptionBody{a.subscriptionID(), id, a.Directory, displayName, "Enabled"}
}

func listSubscriptions(a *api, c call) (answer, error) {
	list := listBody[subscriptionBody]{Value: []subscriptionBody{}}
	if a.seesSubscription(c) {
		list.Value = append(list.Value, a.subscriptionToWire())
	}
	return answer{http.StatusOK, list}, nil
}

func getSubscription(a *api, c call) (answer, error) {
	if !a.seesSubscription(c) {
		c.route.each = false
		return answer{}, a.allow(&c, a.subscriptionID())
	}
	return answer{http.StatusOK, a.subscriptionToWire()}, nil
}

// listDirectories shows the one directory to everyone who is known in it.
func listDirectories(a *api, _ call) (answer, error) {
	return answer{http.StatusOK, listBody[directoryBody]{Value: []directoryBody{{"/tenants/" + a.Directory, a.Directory, displayName}}}}, nil
}

// locations returns where the caller sees anything, and where the server is.
func (a *api) locations(c call) []string {
	all := []string{a.Tenants.Default().Location}
	for _, g := range a.Tenants.Groups() {
		if c.mayReadGroup(a, g) {
			all = append(all, g.Location)
		}
	}
	for _, r := range a.registriesIn(c) {
		all = append(all, r.Locations()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func listLocations(a *api, c call) (answer, error) {
	list := listBody[locationBody]{}
	for _, name := range a.locations(c) {
		list.Value = append(list.Value, locationBody{a.subscriptionID() + "/locations/" + name, name, name})
	}
	return answer{http.StatusOK, list}, nil
}

func (a *api) groupToWire(g tenant.Group) groupBody {
	return groupBody{
		tenant.GroupID(a.Tenants.Subscription(), g.Name), g.Name, "Microsoft.Resources/resourceGroups", g.Location, orEmpty(g.Tags), stateBody{provisioned},
	}
}

func listGroups(a *api, c call) (answer, error) {
	list := listBody[groupBody]{Value: []groupBody{}}
	for _, g := range a.Tenants.Groups() {
		if c.mayReadGroup(a, g) {
			list.Value = append(list.Value, a.groupToWire(g))
		}
	}
	return answer{http.StatusOK, list}, nil
}

func getGroup(a *api, c call) (answer, error) {
	return answer{http.StatusOK, a.groupToWire(c.group)}, nil
}

// headGroup is how az asks whether a group exists.
func headGroup(*api, call) (answer, error) { return answer{status: http.StatusNoContent}, nil }

// putGroup creates (201) or replaces (200).
func putGroup(a *api, c call) (answer, error) {
	var in groupInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	g, created, err := a.Tenants.PutGroup(c.Context(), c.place.group, in.Location.orZero(), in.Tags.orZero(), c.by())
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("created", created)
	return answer{status, a.groupToWire(g)}, nil
}

func deleteGroup(a *api, c call) (answer, error) {
	if err := a.Tenants.DeleteGroup(c.Context(), c.group.Name); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK}, nil
}

// resourceFilter is what $filter of a list of resources says. Empty members say
// nothing.
type resourceFilter struct{ kind, name, group string }

// parseResourceFilter reads comparisons with eq, joined by and (OData).
func parseResourceFilter(text string) (f resourceFilter, err error) {
	bad := func() (resourceFilter, error) {
		return f, fault.New(fault.Invalid, "$filter %q is not one of this list: use resourceType eq '…', name eq '…', resourceGroup eq '…', joined by and", clip(text)).
			WithCode("InvalidFilterInQueryString")
	}
	rest := strings.TrimSpace(text)
	for rest != "" {
		member, after, ok := strings.Cut(rest, "'")
		value, more, closed := strings.Cut(after, "'")
		words := strings.Fields(member)
		if !ok || !closed || len(words) != 2 || !strings.EqualFold(words[1], "eq") {
			return bad()
		}
		switch strings.ToLower(words[0]) {
		case "resourcetype":
			f.kind = value
		case "name":
			f.name = value
		case "resourcegroup":
			f.group = value
		default:
			return bad()
		}
		rest = strings.TrimSpace(more)
		if rest == "" {
			return f, nil
		}
		and, next, _ := strings.Cut(rest, " ")
		if !strings.EqualFold(and, "and") || strings.TrimSpace(next) == "" {
			return bad()
		}
		rest = next
	}
	return f, nil
}

// wants reports whether the filter lets through what is given. An empty value
// stands for any.
func (f resourceFilter) wants(kind, name string) bool {
	return (f.kind == "" || strings.EqualFold(f.kind, kind)) && (f.name == "" || name == "" || strings.EqualFold(f.name, name))
}

// listResources shows registries, and what in them is a resource of its own.
func listResources(a *api, c call) (answer, error) {
	filter, err := parseResourceFilter(c.URL.Query().Get("$filter"))
	if err != nil {
		return answer{}, err
	}
	expanded := c.URL.Query()
	list := listBody[resourceBody]{Value: []resourceBody{}}
	add := func(body resourceBody, stamp tenant.Stamp) {
		if filter.wants(body.Type, body.Name) {
			list.Value = append(list.Value, expand(body, stamp, expanded))
		}
	}
	var topics []systemTopic
	if filter.wants(aSystemTopic, "") {
		if topics, err = a.systemTopics(c.Context(), a.topicSources(c)); err != nil {
			return answer{}, err
		}
	}
	for _, r := range a.registriesIn(c) {
		if filter.group != "" && !strings.EqualFold(filter.group, r.ResourceGroup) {
			continue
		}
		add(resourceBody{ID: r.ResourceID(), Name: r.Name, Type: aRegistry, SKU: &skuBody{r.SKU, r.SKU}, Location: r.Location, Tags: orEmpty(r.Tags)}, r.Stamp)
		if c.caller.May(aReplication+"/read", r.ResourceID()) {
			for _, rep := range r.Replications() {
				add(resourceBody{ID: r.ResourceID() + "/replications/" + rep.Name, Name: r.Name + "/" + rep.Name, Type: aReplication, Location: rep.Location, Tags: orEmpty(rep.Tags)}, rep.Stamp)
			}
		}
		for _, t := range topics {
			if t.source.ID == r.ID {
				add(resourceBody{ID: t.id(), Name: t.name, Type: aSystemTopic, Location: r.Location, Tags: orEmpty(t.tags)}, r.Stamp)
			}
		}
		if !filter.wants(aWebhook, "") || !c.caller.May(readWebhook, r.ResourceID()) {
			continue
		}
		hooks, err := a.Webhooks.List(c.Context(), hooksOf(r))
		if err != nil {
			return answer{}, err
		}
		for _, w := range hooks {
			add(resourceBody{ID: r.ResourceID() + "/webhooks/" + w.Name, Name: r.Name + "/" + w.Name, Type: aWebhook, Location: w.Location, Tags: orEmpty(w.Tags)},
				tenant.Stamp{CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt})
		}
	}
	return answer{http.StatusOK, list}, nil
}

// expand adds to a resource what $expand asks for.
func expand(body resourceBody, stamp tenant.Stamp, query url.Values) resourceBody {
	for name := range strings.SplitSeq(query.Get("$expand"), ",") {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "createdtime":
			body.CreatedTime = wireTime(stamp.CreatedAt)
		case "changedtime":
			body.ChangedTime = wireTime(stamp.UpdatedAt)
		case "provisioningstate":
			body.ProvisioningState = provisioned
		}
	}
	return body
}

// namespaces are the providers there are, with their types of resources and, newest
// first, the versions of their interfaces.
var namespaces = []struct {
	name            string
	types, versions []string
}{
	{provider, []string{"registries", "registries/replications", "registries/webhooks", "checkNameAvailability", "operations"}, newestFirst(knownVersions)},
	{eventGrid, []string{"eventSubscriptions", "systemTopics", "systemTopics/eventSubscriptions", "topicTypes", "extensionTopics", "operations"}, newestFirst(eventGridVersions)},
}

func newestFirst(versions []string) []string {
	versions = slices.Clone(versions)
	slices.Reverse(versions)
	return versions
}

// providersToWire shows the providers of a name, in any case, or all for none.
func (a *api) providersToWire(c call, name string) (all []providerBody) {
	locations := a.locations(c)
	for _, n := range namespaces {
		if name != "" && !strings.EqualFold(name, n.name) {
			continue
		}
		body := providerBody{ID: a.subscriptionID() + "/providers/" + n.name, Namespace: n.name, RegistrationState: "Registered", RegistrationPolicy: "RegistrationRequired"}
		for _, t := range n.types {
			body.ResourceTypes = append(body.ResourceTypes, resourceType{t, locations, n.versions})
		}
		all = append(all, body)
	}
	return all
}

func listProviders(a *api, c call) (answer, error) {
	return answer{http.StatusOK, listBody[providerBody]{Value: a.providersToWire(c, "")}}, nil
}

// getProvider shows a provider, which is registered from the start: to register
// it changes nothing.
func getProvider(a *api, c call) (answer, error) {
	name := c.place.rest[1]
	found := a.providersToWire(c, name)
	if name == "" || len(found) == 0 {
		return answer{}, fault.New(fault.NotFound, "the resource provider %q is not one of this server: it has %s and %s", clip(name), provider, eventGrid).
			WithCode("InvalidResourceNamespace")
	}
	return answer{http.StatusOK, found[0]}, nil
}

// listOperations shows the actions of which roles are made, of a provider.
func listOperations(_ *api, c call) (answer, error) {
	list := listBody[operationBody]{}
	seen := map[string]bool{}
	for _, rt := range routes {
		name, ok := strings.CutPrefix(rt.action, c.route.path[1]+"/")
		if !ok || seen[rt.action] {
			continue
		}
		seen[rt.action] = true
		list.Value = append(list.Value, operationBody{Name: rt.action, Origin: "user,system", Display: describe(name)})
	}
	slices.SortFunc(list.Value, func(x, y operationBody) int { return cmp.Compare(x.Name, y.Name) })
	return answer{http.StatusOK, list}, nil
}

// describe puts into words what an action is, from its name without the
// provider.
func describe(name string) operationDisplay {
	words := strings.Split(strings.TrimSuffix(name, "/action"), "/")
	verb, what := words[len(words)-1], strings.Join(words[:len(words)-1], "/")
	return operationDisplay{"Dockbell", what, verb, strings.TrimSpace(verb + " " + what)}
}
