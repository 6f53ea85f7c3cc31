package arm

import "strings"

// RouteForTest is an operation as a test of all of them sees it.
type RouteForTest struct {
	Level  int // 0 the server's, 1 a subscription's, 2 a group's, 3 a registry's
	Method string
	Path   string // below that; {} stands for a name
	Action string
	Each   bool
	Audit  bool // whether a call is put on record
}

// RoutesForTest returns all operations.
func RoutesForTest() []RouteForTest {
	var all []RouteForTest
	for _, rt := range routes {
		path := ""
		for _, segment := range rt.path {
			path += "/" + strings.Replace(segment, "*", "{}", 1)
		}
		all = append(all, RouteForTest{int(rt.level), rt.method, path, rt.action, rt.each, rt.audited()})
	}
	return all
}
