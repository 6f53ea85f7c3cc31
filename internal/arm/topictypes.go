package arm

import (
	"net/http"
	"strings"

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

// eventTypes are those that a subscription hears of unless it says otherwise.
var eventTypes = []struct{ name, shown, description string }{
	{"ImagePushed", "Image Pushed", "Raised when an image is pushed."},
	{"ImageDeleted", "Image Deleted", "Raised when an image is deleted."},
	{"ChartPushed", "Chart Pushed", "Raised when a chart is pushed."},
	{"ChartDeleted", "Chart Deleted", "Raised when a chart is deleted."},
}

func listEventTypes(_ *api, c call) (answer, error) {
	if err := c.knowsTopicType(); err != nil {
		return answer{}, err
	}
	list := listBody[eventTypeBody]{}
	for _, t := range eventTypes {
		name := provider + "." + t.name
		list.Value = append(list.Value, eventTypeBody{
			topicTypeID + "/eventTypes/" + name, name, aTopicType + "/eventTypes", eventTypeProperties{DisplayName: t.shown, Description: t.description, IsInDefaultSet: true},
		})
	}
	return answer{http.StatusOK, list}, nil
}
