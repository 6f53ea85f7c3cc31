package event

import "time"

// EventGridMediaType is the media type of events in Event Grid's schema, which are
// always in an array.
const EventGridMediaType = "application/json; charset=utf-8"

// The versions of events in Event Grid's schema: of the data of ours, of those about
// subscriptions, and of what is around the data.
const (
	DataVersion        = "2.0"
	controlDataVersion = "1"
	MetadataVersion    = "1"
)

// gridEvent is an event in Event Grid's schema, members in the order of its samples.
type gridEvent struct {
	ID              string `json:"id"`
	Topic           string `json:"topic"`
	Subject         string `json:"subject"`
	EventType       string `json:"eventType"`
	EventTime       string `json:"eventTime"`
	Data            any    `json:"data"`
	DataVersion     string `json:"dataVersion"`
	MetadataVersion string `json:"metadataVersion"`
}

func newGridEvent(e *Event) gridEvent {
	return gridEvent{
		ID: e.ID, Topic: Source(e), Subject: Subject(e), EventType: EventGridType(e.Action), EventTime: e.At.UTC().Format(sevenDigits),
		Data: newEventData(e), DataVersion: DataVersion, MetadataVersion: MetadataVersion,
	}
}

// EventGrid returns events in Event Grid's schema: one compact JSON array, of
// EventGridMediaType. The data are those of CloudEvent.
func EventGrid(events ...*Event) []byte {
	all := make([]gridEvent, len(events))
	for i, e := range events {
		all[i] = newGridEvent(e)
	}
	return compact(all)
}

// SubscriptionValidation returns the request by which a receiver is asked whether it
// wants the events of a subscription, in Event Grid's schema: topic is the ARM id of
// the registry, code what it is to answer, and url what a person may open instead.
func SubscriptionValidation(id, topic string, at time.Time, code, url string) []byte {
	return control(id, topic, "Microsoft.EventGrid.SubscriptionValidationEvent", at, struct {
		Code string `json:"validationCode"`
		URL  string `json:"validationUrl"`
	}{code, url})
}

// deletedData are the data of an event that tells of the end of a subscription.
type deletedData struct {
	Subscription string `json:"eventSubscriptionId"`
}

const deletedType = "Microsoft.EventGrid.SubscriptionDeletedEvent"

// SubscriptionDeleted returns the request that tells a receiver that the
// subscription with an ARM id is gone, in Event Grid's schema.
func SubscriptionDeleted(id, topic string, at time.Time, subscription string) []byte {
	return control(id, topic, deletedType, at, deletedData{subscription})
}

// SubscriptionDeletedCloudEvent is SubscriptionDeleted as a CloudEvent in structured
// mode.
func SubscriptionDeletedCloudEvent(id, source string, at time.Time, subscription string) []byte {
	return compact(struct {
		cloudAttributes
		Data deletedData `json:"data"`
	}{cloudAttributes{SpecVersion: "1.0", ID: id, Source: source, Type: deletedType, Time: at.UTC().Format(sevenDigits)}, deletedData{subscription}})
}

// control returns an event about a subscription, in Event Grid's schema.
func control(id, topic, eventType string, at time.Time, data any) []byte {
	return compact([]gridEvent{{
		ID: id, Topic: topic, EventType: eventType, EventTime: at.UTC().Format(sevenDigits),
		Data: data, DataVersion: controlDataVersion, MetadataVersion: MetadataVersion,
	}})
}
