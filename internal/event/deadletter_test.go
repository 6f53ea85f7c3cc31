package event

import (
	"strings"
	"testing"
	"time"
)

// The files of dead letters, byte for byte.
func TestDeadLetterFile(t *testing.T) {
	t.Parallel()
	published, last := time.Date(2025, 3, 4, 9, 10, 11, 800_000_000, time.UTC), time.Date(2025, 3, 5, 10, 0, 0, 0, time.FixedZone("", 3600))
	var letters []DeadLetter
	var grid, cloud []string
	for _, s := range samples() {
		letters = append(letters, DeadLetter{Event: s.event, Reason: "MaxDeliveryAttemptsExceeded", Attempts: 6, LastOutcome: "NotFound", LastStatus: 404, PublishedAt: published, LastAttemptAt: last})
		grid = append(grid, s.grid(`,"deadLetterReason":"MaxDeliveryAttemptsExceeded","deliveryAttempts":6,"lastDeliveryOutcome":"NotFound",`+
			`"publishTime":"2025-03-04T09:10:11.8000000Z","lastDeliveryAttemptTime":"2025-03-05T09:00:00.0000000Z","lastHttpStatusCode":404`))
		cloud = append(cloud, s.cloud(`"deadletterreason":"MaxDeliveryAttemptsExceeded","deliveryattempts":6,"lastdeliveryoutcome":"NotFound",`+
			`"publishtime":"2025-03-04T09:10:11.8000000Z","lastdeliveryattempttime":"2025-03-05T09:00:00.0000000Z","lasthttpstatuscode":404,`))
	}
	never := samples()[0] // given up without an attempt
	letters = append(letters, DeadLetter{Event: never.event, Reason: "TimeToLiveExceeded"})
	grid = append(grid, never.grid(`,"deadLetterReason":"TimeToLiveExceeded","deliveryAttempts":0,"publishTime":"2025-03-04T09:10:11.4123456Z"`))
	cloud = append(cloud, never.cloud(`"deadletterreason":"TimeToLiveExceeded","deliveryattempts":0,"publishtime":"2025-03-04T09:10:11.4123456Z",`))

	if got, want := string(DeadLetterFile(false, letters)), "["+strings.Join(grid, ",")+"]"; got != want {
		t.Errorf("Event Grid's schema:\ngot  %s\nwant %s", got, want)
	}
	file := DeadLetterFile(true, letters)
	if want := "[" + strings.Join(cloud, ",") + "]"; string(file) != want {
		t.Errorf("CloudEvents:\ngot  %s\nwant %s", file, want)
	}
	for _, e := range mustBeBatch(t, file) {
		if e.Extensions()["deadletterreason"] == nil || e.Extensions()["deliveryattempts"] == nil {
			t.Errorf("a dead letter has the extensions %v", e.Extensions())
		}
	}
	if got := string(DeadLetterFile(true, nil)) + string(DeadLetterFile(false, nil)); got != "[][]" {
		t.Errorf("no letters: %s", got)
	}
}
