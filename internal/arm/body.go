package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// maxBody is the largest request body taken, in bytes.
const maxBody = 1 << 20

// codeInvalidContent is ARM's code for a body it cannot read.
const codeInvalidContent = "InvalidRequestContent"

// member is a member of a JSON object in its three states: absent, null, or a
// value.
type member[T any] struct {
	present bool
	value   *T // nil: null
}

// UnmarshalJSON is called for a member that is present, also with null.
func (m *member[T]) UnmarshalJSON(b []byte) error {
	m.present = true
	return json.Unmarshal(b, &m.value)
}

// null reports whether the member is there as null.
func (m member[T]) null() bool { return m.present && m.value == nil }

// orZero returns the value, or the zero T for a member that is absent or null.
func (m member[T]) orZero() (v T) {
	if m.value != nil {
		v = *m.value
	}
	return v
}

// readBody decodes the request's body, one JSON object, into out. Members that
// out does not have are ignored, as Azure's bodies have many.
func readBody(r *http.Request, out any) error {
	content, err := readAll(r)
	if err != nil {
		return err
	}
	return decode(content, out)
}

// readStrict is readBody for operations that are not Azure's, where a member
// that out does not have is refused: misspelt, it would change what is meant.
func readStrict(r *http.Request, out any) error {
	content, err := readAll(r)
	if err != nil {
		return err
	}
	return decodeStrict(content, out)
}

// readOptional is readStrict for operations that need no body: without one, out
// stays as it is.
func readOptional(r *http.Request, out any) error {
	content, err := readAll(r)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return err
	}
	return decodeStrict(content, out)
}

func readAll(r *http.Request) ([]byte, error) {
	content, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.New(fault.TooLarge, "the request body is larger than %d bytes, the limit of this operation", tooLarge.Limit)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the request body ended early: send it again").WithCode(codeInvalidContent)
	}
	return content, nil
}

func decode(content []byte, out any) error {
	if len(bytes.TrimSpace(content)) == 0 {
		return invalidContent("the request has no body: this operation needs a JSON object")
	}
	err := json.Unmarshal(content, out)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	var refused *fault.Error
	switch {
	case errors.As(err, &refused): // by a type that reads itself
		return refused
	case errors.As(err, &syntax):
		line, column := position(content, syntax.Offset)
		return invalidContent("the request body is not valid JSON: %s at line %d, column %d", syntax, line, column)
	case errors.As(err, &wrong) && wrong.Field != "":
		return invalidContent("%s is of the wrong type: it must be %s, not %s", wrong.Field, typeWord(wrong.Type), article(wrong.Value))
	case errors.As(err, &wrong):
		return invalidContent("the request body must be a JSON object, not %s", article(wrong.Value))
	case err != nil:
		return fault.Wrap(err, fault.Invalid, "the request body cannot be read").WithCode(codeInvalidContent)
	case bytes.Equal(bytes.TrimSpace(content), []byte("null")):
		return invalidContent("the request body must be a JSON object, not null")
	}
	return nil
}

func decodeStrict(content []byte, out any) error {
	if err := decode(content, out); err != nil {
		return err
	}
	again := json.NewDecoder(bytes.NewReader(content))
	again.DisallowUnknownFields()
	if err := again.Decode(out); err != nil { // unknown fields are all that can be wrong by now
		name := strings.TrimPrefix(err.Error(), "json: unknown field ")
		return invalidContent("the request has a member %s, which this operation does not know: it knows %s", clip(name), membersOf(out))
	}
	return nil
}

// membersOf names the members of the struct that out points to.
func membersOf(out any) string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(out).Elem()) {
		names = append(names, field.Tag.Get("json"))
	}
	return strings.Join(names, ", ")
}

func invalidContent(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode(codeInvalidContent)
}

// position returns line and column, from 1, of the byte before offset.
func position(content []byte, offset int64) (line, column int) {
	before := content[:min(max(offset-1, 0), int64(len(content)))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "an array of objects"
		}
		return "an array of strings"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Map:
		return "an object whose members are strings"
	default:
		return "an object"
	}
}

func article(value string) string {
	switch value {
	case "array", "object":
		return "an " + value
	case "null", "true", "false":
		return value
	default:
		return "a " + clip(value) // a number has its digits here
	}
}
