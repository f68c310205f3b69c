// SPDX-License-Identifier: MIT

package check

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/entrypoint-go/entrypoint/internal/inspect"
)

// A Platform is the image of an index for one platform.
type Platform struct {
	Name   string
	Config v1.Config
	Result Result
}

// Platforms compares the images of one index, which should differ in nothing
// but what they are built for.
func Platforms(list []Platform) (findings []Finding) {
	if len(list) < 2 {
		return nil
	}
	for _, property := range []struct {
		name string
		of   func(Platform) string
	}{
		{"ENTRYPOINT", func(p Platform) string { return inspect.JSONArray(p.Config.Entrypoint) }},
		{"CMD", func(p Platform) string { return inspect.JSONArray(p.Config.Cmd) }},
		{"USER", func(p Platform) string { return p.Config.User }},
		{"WORKDIR", func(p Platform) string { return p.Config.WorkingDir }},
		{"STOPSIGNAL", func(p Platform) string { return p.Config.StopSignal }},
		{"HEALTHCHECK", func(p Platform) string {
			if p.Config.Healthcheck == nil {
				return ""
			}
			return inspect.JSONArray(p.Config.Healthcheck.Test)
		}},
		{"whether the program exists", func(p Platform) string {
			return map[bool]string{true: "it is missing", false: "it is there"}[p.Result.lacksProgram()]
		}},
	} {
		first := property.of(list[0])
		for _, p := range list[1:] {
			if other := property.of(p); other != first {
				findings = append(findings, Finding{"platforms-differ", severities["platforms-differ"],
					fmt.Sprintf("%s: %s on %s, %s on %s", property.name, orNone(first), list[0].Name, orNone(other), p.Name),
					"build all platforms from one Dockerfile, in one docker buildx build --platform"})
			}
		}
	}
	return findings
}

func (r Result) lacksProgram() bool {
	for _, f := range r.Findings {
		if f.Code == "program-missing" {
			return true
		}
	}
	return false
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
