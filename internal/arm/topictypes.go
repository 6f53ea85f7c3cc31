package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// topicType is the type of what has events here, and topicTypeDescription what that
// is called.
const (
	topicType            = provider + ".Registries"
	topicTypeDescription = "Azure Container Registry service events"
)

// The wire forms of topic types.
type (
	topicTypeBody struct {
		ID         string              `json:"id"`
		Name       string              `json:"name"`
		Type       string              `json:"type"`
		Properties topicTypeProperties `json:"properties"`
	}
	topicTypeProperties struct {
		Provider                  string   `json:"provider"`
		DisplayName               string   `json:"displayName"`
		Description               string   `json:"description"`
		ResourceRegionType        string   `json:"resourceRegionType"`
		ProvisioningState         string   `json:"provisioningState"`
		SupportedLocations        []string `json:"supportedLocations"`
		SourceResourceFormat      string   `json:"sourceResourceFormat"`
		SupportedScopesForSource  []string `json:"supportedScopesForSource"`
		RegionalAndGlobalAreTaken bool     `json:"areRegionalAndGlobalSourcesSupported"`
	}
	eventTypeBody struct {
		ID         string              `json:"id"`
		Name       string              `json:"name"`
		Type       string              `json:"type"`
		Properties eventTypeProperties `json:"properties"`
	}
	eventTypeProperties struct {
		DisplayName    string  `json:"displayName"`
		Description    string  `json:"description"`
		SchemaURL      *string `json:"schemaUrl"` // null
		IsInDefaultSet bool    `json:"isInDefaultSet"`
	}
)

const topicTypeID = "providers/" + aTopicType + "/" + topicType // without a slash before it, as Event Grid has it

func (a *api) topicTypeToWire(c call) topicTypeBody {
	return topicTypeBody{
		ID: topicTypeID, Name: topicType, Type: aTopicType,
		Properties: topicTypeProperties{
			Provider: provider, DisplayName: "Azure Container Registry", Description: topicTypeDescription, ResourceRegionType: "RegionalResource",
			ProvisioningState: provisioned, SupportedLocations: a.locations(c),
			SourceResourceFormat:     "/subscriptions/<subscriptionId>/resourceGroups/<resourceGroupName>/providers/" + aRegistry + "/<name>",
			SupportedScopesForSource: []string{"Resource"},
		},
	}
}

func listTopicTypes(a *api, c call) (answer, error) {
	return answer{http.StatusOK, listBody[topicTypeBody]{Value: []topicTypeBody{a.topicTypeToWire(c)}}}, nil
}

// knowsTopicType fails for a type that the path names and that is not there.
func (c call) knowsTopicType() error {
	if strings.EqualFold(c.name, topicType) {
		return nil
	}
	return fault.New(fault.NotFound, "the topic type %q is not one of this server: it has %s", clip(c.name), topicType).WithCode("ResourceNotFound")
}

func getTopicType(a *api, c call) (answer, error) {
	if err := c.knowsTopicType(); err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, a.topicTypeToWire(c)}, nil
}

// describedTypes says in words what raises each type of event, and what it is called.
var describedTypes = map[string]struct{ shown, description string }{
	provider + ".ImagePushed":            {"Image Pushed", "Raised when an image is pushed."},
	provider + ".ImageDeleted":           {"Image Deleted", "Raised when an image is deleted."},
	provider + ".ChartPushed":            {"Chart Pushed", "Raised when a chart is pushed."},
	provider + ".ChartDeleted":           {"Chart Deleted", "Raised when a chart is deleted."},
	"Dockbell.Registry.Quarantined":      {"Image Quarantined", "Raised when an image is pushed and held back until it is marked as passed."},
	"Dockbell.Registry.TagDeleted":       {"Tag Deleted", "Raised when a tag is removed and its image stays."},
	"Dockbell.Registry.TagMoved":         {"Tag Moved", "Raised when a tag names another image than before."},
	"Dockbell.Registry.ReferrerAttached": {"Referrer Attached", "Raised when an artifact is pushed that refers to an image, such as a signature."},
	"Dockbell.Registry.ImagePulled":      {"Image Pulled", "Raised when an image is pulled."},
	"Dockbell.Registry.WebhookFailing":   {"Webhook Failing", "Raised when deliveries to a webhook or an event subscription fail, or succeed again."},
}

// listEventTypes shows Event Grid's types of events, which a subscription hears of
// that names none, and then ours.
func listEventTypes(_ *api, c call) (answer, error) {
	if err := c.knowsTopicType(); err != nil {
		return answer{}, err
	}
	list := listBody[eventTypeBody]{}
	for _, name := range event.Types {
		d := describedTypes[name]
		list.Value = append(list.Value, eventTypeBody{
			topicTypeID + "/eventTypes/" + name, name, aTopicType + "/eventTypes",
			eventTypeProperties{DisplayName: d.shown, Description: d.description, IsInDefaultSet: slices.Contains(event.DefaultTypes, name)},
		})
	}
	return answer{http.StatusOK, list}, nil
}
