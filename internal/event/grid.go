package event

import "time"

// EventGridMediaType is the media type of events in Event Grid's schema, which are
// always in an array.
const EventGridMediaType = "application/json; charset=utf-8"

// The versions of events in Event Grid's schema: of the data of ours, of those of the
// question to a receiver, and of what is around the data.
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
	return compact([]gridEvent{{
		ID: id, Topic: topic, EventType: "Microsoft.EventGrid.SubscriptionValidationEvent", EventTime: at.UTC().Format(sevenDigits),
		Data: struct {
			Code string `json:"validationCode"`
			URL  string `json:"validationUrl"`
		}{code, url},
		DataVersion: controlDataVersion, MetadataVersion: MetadataVersion,
	}})
}
