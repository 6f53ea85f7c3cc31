package arm

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/tenant"
)

// systemTopic is a registry as a source of events. A registry that has an event
// subscription has one, also if nobody made it. The zero one is none.
type systemTopic struct {
	name   string
	tags   map[string]string
	source tenant.Registry
	made   bool // by somebody
}

func (t systemTopic) id() string {
	return tenant.GroupID(t.source.Subscription, t.source.ResourceGroup) + "/providers/" + aSystemTopic + "/" + t.name
}

// metric is an id of a source that stays the same, which Event Grid has for its
// figures.
func metric(r tenant.Registry) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(r.ResourceID()))).String()
}

// The wire forms of a system topic.
type (
	systemTopicInput struct {
		Location   member[string]             `json:"location"`
		Tags       member[map[string]string]  `json:"tags"`
		Identity   member[identityInput]      `json:"identity"`
		Properties member[systemTopicMembers] `json:"properties"`
	}
	systemTopicMembers struct {
		Source    member[string] `json:"source"`
		TopicType member[string] `json:"topicType"`
	}
	systemTopicBody struct {
		ID         string                `json:"id"`
		Name       string                `json:"name"`
		Type       string                `json:"type"`
		Location   string                `json:"location"`
		Tags       map[string]string     `json:"tags"`       // null for none
		Identity   *struct{}             `json:"identity"`   // null
		SystemData *systemData           `json:"systemData"` // null
		Properties systemTopicProperties `json:"properties"`
	}
	systemTopicProperties struct {
		ProvisioningState string `json:"provisioningState"`
		Source            string `json:"source"`
		TopicType         string `json:"topicType"`
		MetricResourceID  string `json:"metricResourceId"`
	}
)

func (t systemTopic) toWire() systemTopicBody {
	return systemTopicBody{
		ID: t.id(), Name: t.name, Type: aSystemTopic, Location: t.source.Location, Tags: t.tags,
		Properties: systemTopicProperties{provisioned, t.source.ResourceID(), topicType, metric(t.source)},
	}
}

// systemTopicRoutes are the operations on system topics.
func systemTopicRoutes() []route {
	const list = "providers/" + eventGrid + "/systemTopics"
	at := func(within level, method, below, action string, each bool, run func(*api, call) (answer, error)) route {
		return route{within, method, strings.Split(list+below, "/"), action, each, run}
	}
	all := []route{
		at(ofSubscription, http.MethodGet, "", aSystemTopic+"/read", true, listSystemTopics),
		at(ofGroup, http.MethodGet, "", aSystemTopic+"/read", true, listSystemTopics),
		at(ofGroup, http.MethodPut, "/*", aSystemTopic+"/write", false, putSystemTopic),
		at(ofGroup, http.MethodPatch, "/*", aSystemTopic+"/write", false, patchSystemTopic),
		at(ofGroup, http.MethodDelete, "/*", aSystemTopic+"/delete", false, deleteSystemTopic),
		at(ofGroup, http.MethodGet, "/*", aSystemTopic+"/read", false, getSystemTopic),
	}
	return append(all, subscriptionRoutesAt(ofGroup, list+"/*/eventSubscriptions", aTopicSubscription)...)
}

// systemTopics returns those of registries, by name.
func (a *api) systemTopics(ctx context.Context, registries []tenant.Registry) ([]systemTopic, error) {
	made, err := a.Subscriptions.SystemTopics(ctx)
	if err != nil {
		return nil, err
	}
	var all []systemTopic
	for _, r := range registries {
		i := slices.IndexFunc(made, func(t subscription.SystemTopic) bool { return t.RegistryID == r.ID })
		if i >= 0 {
			all = append(all, systemTopic{made[i].Name, made[i].Tags, r, true})
			continue
		}
		subscriptions, err := a.Subscriptions.List(ctx, subscribedTo(r))
		if err != nil {
			return nil, err
		}
		if len(subscriptions) > 0 {
			all = append(all, systemTopic{name: r.Name + "-" + metric(r), source: r})
		}
	}
	slices.SortFunc(all, func(x, y systemTopic) int { return cmp.Compare(strings.ToLower(x.name), strings.ToLower(y.name)) })
	return all, nil
}

// admitTopic finds the system topic that the path of a call in a group names. One
// that is to be made, or to be gone, need not be there.
func (a *api) admitTopic(c *call) error {
	if !hasPrefix(c.route.path, "providers", eventGrid, "systemTopics") || len(c.place.rest) < 4 {
		return nil
	}
	name := c.place.rest[3]
	all, err := a.systemTopics(c.Context(), a.registriesOf(c.group))
	if err != nil {
		return err
	}
	for _, t := range all {
		if strings.EqualFold(t.name, name) {
			c.topic, c.registry = t, t.source
			return nil
		}
	}
	if len(c.place.rest) == 4 && (c.Method == http.MethodPut || c.Method == http.MethodDelete) {
		return nil
	}
	return fault.New(fault.NotFound, "system topic %q could not be found in resource group %s: GET …/systemTopics lists those there are; a registry has one when it has an event subscription, or when one is made",
		clip(name), c.group.Name).WithCode("ResourceNotFound")
}

// registriesOf returns the registries of a group.
func (a *api) registriesOf(g tenant.Group) []tenant.Registry {
	return slices.DeleteFunc(a.Tenants.List(), func(r tenant.Registry) bool { return !strings.EqualFold(r.ResourceGroup, g.Name) })
}

// listSystemTopics shows those of registries whose subscriptions the caller may read.
func listSystemTopics(a *api, c call) (answer, error) {
	wanted, err := parseNameFilter(c.URL.Query().Get("$filter"))
	if err != nil {
		return answer{}, err
	}
	all, err := a.systemTopics(c.Context(), a.topicSources(c))
	if err != nil {
		return answer{}, err
	}
	list := listBody[systemTopicBody]{Value: []systemTopicBody{}}
	for _, t := range all {
		if wanted(t.name) {
			list.Value = append(list.Value, t.toWire())
		}
	}
	return answer{http.StatusOK, list}, nil
}

// topicSources returns the registries whose system topics a list shows.
func (a *api) topicSources(c call) []tenant.Registry {
	return slices.DeleteFunc(a.registriesIn(c), func(r tenant.Registry) bool { return !c.caller.May(aSystemTopic+"/read", r.ResourceID()) })
}

func getSystemTopic(_ *api, c call) (answer, error) {
	return answer{http.StatusOK, c.topic.toWire()}, nil
}

// putSystemTopic creates (201) or replaces (200). One that was there without being
// made gets the name.
func putSystemTopic(a *api, c call) (answer, error) {
	var in systemTopicInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	source, err := a.topicSource(c, in)
	if err != nil {
		return answer{}, err
	}
	return a.storeTopic(c, source, c.name, in)
}

// patchSystemTopic changes tags, which is all that can be changed.
func patchSystemTopic(a *api, c call) (answer, error) {
	var in systemTopicInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	if !in.Tags.present {
		in.Tags.value = &c.topic.tags
	}
	ans, err := a.storeTopic(c, c.topic.source, c.topic.name, in)
	ans.status = http.StatusOK
	return ans, err
}

func (a *api) storeTopic(c call, source tenant.Registry, name string, in systemTopicInput) (answer, error) {
	if t := in.Identity.orZero().Type; t != "" && !strings.EqualFold(t, "None") {
		return answer{}, invalidRequest("identity.type cannot be %s: a system topic has no identity of its own here; use None, or leave identity out", clip(t))
	}
	stored, created, err := a.Subscriptions.PutSystemTopic(c.Context(), source.ResourceGroup, subscription.SystemTopic{RegistryID: source.ID, Name: name, Tags: in.Tags.orZero()})
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("source", source.Name, "created", created)
	return answer{status, systemTopic{stored.Name, stored.Tags, source, true}.toWire()}, nil
}

// topicSource returns the registry that a system topic is to stand for.
func (a *api) topicSource(c call, in systemTopicInput) (tenant.Registry, error) {
	p := in.Properties.orZero()
	if sent := p.TopicType.orZero(); sent != "" && !strings.EqualFold(sent, topicType) {
		return tenant.Registry{}, invalidRequest("properties.topicType %q is none of this server: use %s", clip(sent), topicType)
	}
	source, at := p.Source.orZero(), parsePath(p.Source.orZero())
	for _, r := range a.registriesOf(c.group) {
		if at.level != ofRegistry || at.short || len(at.rest) > 0 || !strings.EqualFold(at.subscription, r.Subscription) ||
			!strings.EqualFold(at.group, r.ResourceGroup) || !strings.EqualFold(at.registry, r.Name) {
			continue
		}
		if sent := in.Location.orZero(); sent != "" && tenant.NormalLocation(sent) != r.Location {
			return tenant.Registry{}, invalidRequest("location %q is not that of the source: registry %s is in %s, and so is its system topic", clip(sent), r.Name, r.Location)
		}
		return r, nil
	}
	if source == "" {
		return tenant.Registry{}, invalidRequest("properties.source is missing: give the id of a registry in resource group %s", c.group.Name)
	}
	return tenant.Registry{}, invalidRequest("properties.source %q is no registry in resource group %s: a system topic is in the resource group of its source", clip(source), c.group.Name)
}

// deleteSystemTopic answers 204 when there was nothing to delete.
func deleteSystemTopic(a *api, c call) (answer, error) {
	if c.topic.name == "" {
		return answer{status: http.StatusNoContent}, nil
	}
	subscriptions, err := a.Subscriptions.List(c.Context(), subscribedTo(c.registry))
	if err != nil {
		return answer{}, err
	}
	if len(subscriptions) > 0 {
		return answer{}, fault.New(fault.Conflict, "system topic %s has %d event subscriptions, %s among them: delete those first; with the last one a system topic that nobody made goes by itself",
			c.topic.name, len(subscriptions), subscriptions[0].Name)
	}
	return answer{status: http.StatusOK}, a.Subscriptions.DeleteSystemTopic(c.Context(), c.registry.ID)
}

// extensionTopicBody says which system topic stands for a registry.
type extensionTopicBody struct {
	ID         string                   `json:"id"`
	Name       string                   `json:"name"`
	Type       string                   `json:"type"`
	Properties extensionTopicProperties `json:"properties"`
}

type extensionTopicProperties struct {
	Description string  `json:"description"`
	SystemTopic *string `json:"systemTopic"` // id; null for none
}

func getExtensionTopic(a *api, c call) (answer, error) {
	all, err := a.systemTopics(c.Context(), []tenant.Registry{c.registry})
	if err != nil {
		return answer{}, err
	}
	body := extensionTopicBody{
		ID: c.registry.ResourceID() + "/providers/" + eventGrid + "/extensionTopics/default", Name: "default", Type: eventGrid + "/extensionTopics",
		Properties: extensionTopicProperties{Description: topicTypeDescription},
	}
	if len(all) > 0 {
		body.Properties.SystemTopic = new(all[0].id())
	}
	return answer{http.StatusOK, body}, nil
}
