package event

import "time"

// DeadLetter is an event that was given up.
type DeadLetter struct {
	Event         *Event
	Reason        string    // such as MaxDeliveryAttemptsExceeded
	Attempts      int       // that were made; 0 or more
	LastOutcome   string    // of the last one, such as NotFound; empty if there was none
	LastStatus    int       // of the last answer; 0 for none
	PublishedAt   time.Time // zero: the moment of the event
	LastAttemptAt time.Time // zero for none
}

// The wire forms of dead letters: events with what Event Grid adds.
type (
	gridLetter struct {
		gridEvent
		Reason        string `json:"deadLetterReason"`
		Attempts      int    `json:"deliveryAttempts"`
		LastOutcome   string `json:"lastDeliveryOutcome,omitempty"`
		PublishTime   string `json:"publishTime"`
		LastAttemptAt string `json:"lastDeliveryAttemptTime,omitempty"`
		LastStatus    int    `json:"lastHttpStatusCode,omitempty"`
	}
	cloudLetter struct {
		cloudAttributes
		Reason        string    `json:"deadletterreason,omitempty"`
		Attempts      int       `json:"deliveryattempts"`
		LastOutcome   string    `json:"lastdeliveryoutcome,omitempty"`
		PublishTime   string    `json:"publishtime"`
		LastAttemptAt string    `json:"lastdeliveryattempttime,omitempty"`
		LastStatus    int       `json:"lasthttpstatuscode,omitempty"`
		Data          eventData `json:"data"`
	}
)

// DeadLetterFile returns a file of dead letters: one compact JSON array of the
// events as CloudEvents or in Event Grid's schema, each with how it came to be given
// up.
func DeadLetterFile(cloudEvents bool, letters []DeadLetter) []byte {
	all := make([]any, len(letters))
	for i, l := range letters {
		var last string
		if !l.LastAttemptAt.IsZero() {
			last = l.LastAttemptAt.UTC().Format(sevenDigits)
		}
		published := l.PublishedAt
		if published.IsZero() {
			published = l.Event.At
		}
		publish := published.UTC().Format(sevenDigits)
		if cloudEvents {
			c := newCloudEvent(l.Event)
			all[i] = cloudLetter{c.cloudAttributes, l.Reason, l.Attempts, l.LastOutcome, publish, last, l.LastStatus, c.Data}
		} else {
			all[i] = gridLetter{newGridEvent(l.Event), l.Reason, l.Attempts, l.LastOutcome, publish, last, l.LastStatus}
		}
	}
	return compact(all)
}
