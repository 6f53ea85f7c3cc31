package filter

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

const defaultSet = `["Microsoft.ContainerRegistry.ImagePushed","Microsoft.ContainerRegistry.ImageDeleted","Microsoft.ContainerRegistry.ChartPushed","Microsoft.ContainerRegistry.ChartDeleted"]`

// TestJSON: what is read, and how it is answered, byte for byte.
func TestJSON(t *testing.T) {
	t.Parallel()
	const nothing = `{"subjectBeginsWith":"","subjectEndsWith":"","includedEventTypes":` + defaultSet + `,"enableAdvancedFilteringOnArrays":null,"advancedFilters":[]}`
	one := func(condition string) string {
		return strings.Replace(nothing, "[]}", "["+condition+"]}", 1)
	}
	for _, test := range []struct {
		text string
		want Definition
		back string
	}{
		{`{}`, Definition{}, nothing},
		{nothing, Definition{}, nothing},
		{`{"subjectBeginsWith":null,"subjectEndsWith":null,"includedEventTypes":null,"isSubjectCaseSensitive":null,"enableAdvancedFilteringOnArrays":null,"advancedFilters":null,"other":1}`, Definition{}, nothing},
		{`{"includedEventTypes":[]}`, Definition{}, nothing},
		{`{"includedEventTypes":"All"}`, Definition{}, nothing},
		{`{"includedEventTypes":["all"]}`, Definition{}, nothing},
		{`{"includedEventTypes":["Microsoft.ContainerRegistry.ImagePushed"],"SubjectBeginsWith":"team/","subjectEndsWith":":1","isSubjectCaseSensitive":true,"enableAdvancedFilteringOnArrays":true}`,
			Definition{EventTypes: []string{"Microsoft.ContainerRegistry.ImagePushed"}, SubjectBeginsWith: "team/", SubjectEndsWith: ":1", SubjectCaseSensitive: true, Arrays: true},
			`{"subjectBeginsWith":"team/","subjectEndsWith":":1","includedEventTypes":["Microsoft.ContainerRegistry.ImagePushed"],"isSubjectCaseSensitive":true,"enableAdvancedFilteringOnArrays":true,"advancedFilters":[]}`},
		{`{"isSubjectCaseSensitive":false,"enableAdvancedFilteringOnArrays":false}`, Definition{}, nothing},
		{`{"advancedFilters":[{"operatorType":"numbergreaterthan","key":"data.target.size","value":4096.0,"values":null}]}`,
			Definition{Conditions: []Condition{{Operator: NumberGreaterThan, Key: "data.target.size", Numbers: []float64{4096}}}},
			one(`{"operatorType":"NumberGreaterThan","key":"data.target.size","value":4096}`)},
		{`{"advancedFilters":[{"operatorType":"NumberLessThan","key":"data.target.size","values":[0]}]}`,
			Definition{Conditions: []Condition{{Operator: NumberLessThan, Key: "data.target.size", Numbers: []float64{0}}}},
			one(`{"operatorType":"NumberLessThan","key":"data.target.size","value":0}`)},
		{`{"advancedFilters":[{"operatorType":"NumberIn","key":"data.target.size","values":[1.0,2.5]}]}`,
			Definition{Conditions: []Condition{{Operator: NumberIn, Key: "data.target.size", Numbers: []float64{1, 2.5}}}},
			one(`{"operatorType":"NumberIn","key":"data.target.size","values":[1,2.5]}`)},
		{`{"advancedFilters":[{"operatorType":"NumberNotInRange","key":"data.target.size","values":[[1,2],[5.0,9]]}]}`,
			Definition{Conditions: []Condition{{Operator: NumberNotInRange, Key: "data.target.size", Ranges: [][2]float64{{1, 2}, {5, 9}}}}},
			one(`{"operatorType":"NumberNotInRange","key":"data.target.size","values":[[1,2],[5,9]]}`)},
		{`{"advancedFilters":[{"operatorType":"NumberInRange","key":"data.target.size","values":[1,2]}]}`,
			Definition{Conditions: []Condition{{Operator: NumberInRange, Key: "data.target.size", Ranges: [][2]float64{{1, 2}}}}},
			one(`{"operatorType":"NumberInRange","key":"data.target.size","values":[[1,2]]}`)},
		{`{"advancedFilters":[{"operatorType":"BoolEquals","key":"data.x","value":false}]}`,
			Definition{Conditions: []Condition{{Operator: BoolEquals, Key: "data.x"}}}, one(`{"operatorType":"BoolEquals","key":"data.x","value":false}`)},
		{`{"advancedFilters":[{"operatorType":"BOOLEQUALS","key":"data.x","values":[true]}]}`,
			Definition{Conditions: []Condition{{Operator: BoolEquals, Key: "data.x", Bool: true}}}, one(`{"operatorType":"BoolEquals","key":"data.x","value":true}`)},
		{`{"advancedFilters":[{"operatorType":"StringIn","key":"Subject","value":"a<b"}]}`,
			Definition{Conditions: []Condition{{Operator: StringIn, Key: "Subject", Strings: []string{"a<b"}}}}, one(`{"operatorType":"StringIn","key":"Subject","values":["a\u003cb"]}`)},
		{`{"advancedFilters":[{"operatorType":"IsNotNull","key":"data.actor","value":null}]}`,
			Definition{Conditions: []Condition{{Operator: IsNotNull, Key: "data.actor"}}}, one(`{"operatorType":"IsNotNull","key":"data.actor"}`)},
	} {
		for _, text := range []string{test.text, test.back} {
			var holder struct{ Filter *Definition } // as in the body of a request
			if err := json.Unmarshal([]byte(`{"filter":`+text+`}`), &holder); err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if !reflect.DeepEqual(*holder.Filter, test.want) {
				t.Errorf("%s is read as %+v, want %+v", text, *holder.Filter, test.want)
			}
			if err := holder.Filter.Check(); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if back, err := json.Marshal(holder.Filter); err != nil || string(back) != test.back {
				t.Errorf("%s is answered\n%s, %v, want\n%s", text, back, err, test.back)
			}
		}
	}
	d := Definition{SubjectBeginsWith: "kept"}
	if err := json.Unmarshal([]byte("null"), &d); err != nil || d.SubjectBeginsWith != "kept" {
		t.Errorf("null is %+v, %v", d, err)
	}
	if err := json.Unmarshal([]byte("{}"), &d); err != nil || d.SubjectBeginsWith != "" {
		t.Errorf("{} is %+v, %v", d, err)
	}
}

// TestDefaultSetIsEventGrids: what asks for nothing is the same as all four types, so
// that one answer serves both.
func TestDefaultSetIsEventGrids(t *testing.T) {
	t.Parallel()
	for _, action := range event.Subscribable {
		e := happened(action)
		unset, named := mustCompile(t, Definition{}).Match(NewView(e)), mustCompile(t, Definition{EventTypes: event.DefaultTypes}).Match(NewView(e))
		if ours := strings.HasPrefix(event.EventGridType(action), "Dockbell."); unset == ours || named == ours {
			t.Errorf("%s: %v, by name %v", action, unset, named)
		}
	}
}

// TestRefusals: what is refused, and what people are told.
func TestRefusals(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", maxText)
	condition := func(members string) string { return `{"advancedFilters":[{` + members + `}]}` }
	many := func(n int, condition string) string {
		return `{"advancedFilters":[` + strings.TrimSuffix(strings.Repeat(condition+",", n), ",") + `]}`
	}
	const tag = `"key":"data.target.tag",`
	for _, test := range []struct{ text, want string }{
		{`[]`, "the filter is not an object"},
		{`{"subjectBeginsWith":1}`, "subjectBeginsWith of the filter is 1: give a string"},
		{`{"subjectEndsWith":{}}`, "subjectEndsWith of the filter is {}: give a string"},
		{`{"isSubjectCaseSensitive":"yes"}`, `isSubjectCaseSensitive of the filter is "yes": give true or false`},
		{`{"enableAdvancedFilteringOnArrays":1}`, "enableAdvancedFilteringOnArrays of the filter is 1: give true or false"},
		{`{"includedEventTypes":[1]}`, "includedEventTypes of the filter is [1]: give a list of strings"},
		{`{"includedEventTypes":[null]}`, "includedEventTypes of the filter is [null]"},
		{`{"includedEventTypes":["ImagePushed"]}`, `event type "ImagePushed" is none of a registry: use Microsoft.ContainerRegistry.ImagePushed`},
		{`{"includedEventTypes":["microsoft.containerregistry.imagedeleted"]}`, "use Microsoft.ContainerRegistry.ImageDeleted"},
		{`{"includedEventTypes":["Microsoft.ContainerRegistry.TagMoved"]}`, "use Dockbell.Registry.TagMoved"},
		{`{"includedEventTypes":["Microsoft.Storage.BlobCreated"]}`, "use Microsoft.ContainerRegistry.ImagePushed, Microsoft.ContainerRegistry.ImageDeleted"},
		{`{"includedEventTypes":["Dockbell.Registry.Ping"]}`, `"Dockbell.Registry.Ping" is none of a registry`},
		{`{"includedEventTypes":["` + long + `"]}`, `…" is none`},
		{`{"advancedFilters":{}}`, "advancedFilters of the filter is {}: give a list"},
		{`{"advancedFilters":[1]}`, "advancedFilters of the filter is [1]"},
		{condition(`"key":"x"`), "advanced filter 1 (x): it has no operatorType: use NumberLessThan"},
		{condition(`"operatorType":7`), "advanced filter 1: operatorType and key have to be strings"},
		{condition(`"operatorType":"StringIn","values":["a"]`), "advanced filter 1 (StringIn): it has no key"},
		{condition(tag + `"operatorType":"StringMatches","values":["a"]`), `operatorType "StringMatches" is not known: use NumberLessThan, `},
		{condition(`"key":"data..tag","operatorType":"IsNotNull"`), `advanced filter 1 (IsNotNull of data..tag): key "data..tag" has an empty part`},
		{condition(`"key":".data","operatorType":"IsNotNull"`), "has an empty part"},
		{condition(`"key":"data.","operatorType":"IsNotNull"`), "has an empty part"},
		{condition(`"key":"` + long + `x","operatorType":"IsNotNull"`), "its key has 513 characters: it may have 512"},
		{condition(tag + `"operatorType":"StringIn"`), `advanced filter 1 (StringIn of data.target.tag): its operand is not right: give strings, as in "values": ["v1.", "v2."]`},
		{condition(tag + `"operatorType":"StringIn","values":[]`), "give strings"},
		{condition(tag + `"operatorType":"StringIn","values":[1]`), "give strings"},
		{condition(tag + `"operatorType":"StringIn","values":["a",null]`), "give strings"},
		{condition(tag + `"operatorType":"NumberIn","values":["1"]`), "give numbers"},
		{condition(tag + `"operatorType":"NumberIn","values":[1e999]`), "give numbers"},
		{condition(tag + `"operatorType":"NumberLessThan","values":[1,2]`), `give one number, as in "value": 4096`},
		{condition(tag + `"operatorType":"NumberLessThan","value":true`), "give one number"},
		{condition(tag + `"operatorType":"NumberInRange","values":[[1]]`), "give ranges of numbers"},
		{condition(tag + `"operatorType":"NumberInRange","values":[[1,2,3]]`), "give ranges of numbers"},
		{condition(tag + `"operatorType":"NumberInRange","values":[[1,null]]`), "give ranges of numbers"},
		{condition(tag + `"operatorType":"NumberInRange","value":7`), "give ranges of numbers"},
		{condition(tag + `"operatorType":"NumberInRange","values":[[200,100.5]]`), "range [200, 100.5] has no number in it: give the lower end first, [100.5, 200]"},
		{condition(tag + `"operatorType":"BoolEquals"`), `give "value": true or "value": false`},
		{condition(tag + `"operatorType":"BoolEquals","value":"true"`), `give "value": true`},
		{condition(tag + `"operatorType":"BoolEquals","values":[true,false]`), `give "value": true`},
		{condition(tag + `"operatorType":"IsNotNull","value":1`), `leave out "value" and "values"`},
		{condition(tag + `"operatorType":"StringIn","values":["` + long + `x"]`), "has 513 characters: it may have 512"},
		{many(26, `{`+tag+`"operatorType":"IsNotNull"}`), "the filter has 26 advanced filters: it may have 25"},
		{many(13, `{`+tag+`"operatorType":"NumberInRange","values":[[1,2],[3,4]]}`), "the advanced filters have 26 values together: they may have 25"},
		{many(2, `{`+tag+`"operatorType":"StringIn","values":["`+strings.Repeat(`a","`, 12)+`b"]}`), "have 26 values together"},
	} {
		var d Definition
		err := json.Unmarshal([]byte(test.text), &d)
		if err == nil {
			_, err = Compile(d)
		}
		if err == nil || !strings.Contains(fault.As(err).Message, test.want) || !fault.Is(err, fault.Invalid) || fault.As(err).Code != "InvalidRequest" || len(err.Error()) > 800 {
			t.Errorf("%.200s: %v, want %s", test.text, err, test.want)
		}
	}
	for _, text := range []string{
		condition(tag + `"operatorType":"StringIn","values":["` + long + `"]`),
		many(25, `{`+tag+`"operatorType":"BoolEquals","value":true}`),
		many(25, `{`+tag+`"operatorType":"IsNotNull"}`),
		many(1, `{`+tag+`"operatorType":"NumberInRange","values":[`+strings.TrimSuffix(strings.Repeat(`[1,1],`, 25), ",")+`]}`),
	} {
		var d Definition
		if err := json.Unmarshal([]byte(text), &d); err != nil || d.Check() != nil {
			t.Errorf("%.200s: %v, %v", text, err, d.Check())
		}
	}
}

// TestCheckOfDefinitions: what cannot come from JSON is refused too.
func TestCheckOfDefinitions(t *testing.T) {
	t.Parallel()
	for _, c := range []Condition{
		{Operator: "stringin", Key: "x", Strings: []string{"a"}},
		{Operator: NumberIn, Key: "x", Numbers: []float64{math.NaN()}},
		{Operator: NumberIn, Key: "x", Numbers: []float64{1}, Strings: []string{"a"}},
		{Operator: NumberInRange, Key: "x", Ranges: [][2]float64{{math.Inf(-1), 1}}},
		{Operator: NumberInRange, Key: "x", Ranges: [][2]float64{{1, math.NaN()}}},
		{Operator: StringIn, Key: "x", Strings: []string{"a"}, Bool: true},
		{Operator: IsNotNull, Key: "x", Ranges: [][2]float64{{1, 2}}},
	} {
		if err := (Definition{Conditions: []Condition{c}}).Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// FuzzJSON: no text is read as what cannot be written, or is another filter then.
func FuzzJSON(f *testing.F) {
	for _, r := range rules {
		for _, operand := range []string{`"value":1`, `"values":[1,2]`, `"values":[[1,2]]`, `"value":true`, `"values":["a"]`, `"value":null`} {
			f.Add(fmt.Sprintf(`{"advancedFilters":[{"operatorType":%q,"key":"data.target.tag",%s}]}`, r.Operator, operand))
		}
	}
	f.Add(`{"includedEventTypes":"All","subjectBeginsWith":"a"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var d, again Definition
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			return
		}
		if d.Check() != nil {
			return
		}
		written, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("%+v: %v", d, err)
		}
		if err := json.Unmarshal(written, &again); err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%s is %+v, written and read again %+v, %v", text, d, again, err)
		}
	})
}
