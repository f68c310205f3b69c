package pid1

import (
	"errors"
	"os"
	"strings"
)

// RequireEnv returns an error that names all environment variables, out of
// names, that are not set or empty. It returns nil if there are none. An empty
// variable counts as missing because that is what a Compose file or a pod
// template makes of a variable that its own environment lacks. Values are
// neither logged nor part of the error.
//
// Call it before the first use of a variable, or in a step of [App.Before].
func RequireEnv(names ...string) error {
	var unset, empty []string
	for _, name := range names {
		switch value, ok := os.LookupEnv(name); {
		case !ok:
			unset = append(unset, name)
		case value == "":
			empty = append(empty, name)
		}
	}
	var missing []string
	if len(unset) > 0 {
		missing = append(missing, "not set: "+strings.Join(unset, ", "))
	}
	if len(empty) > 0 {
		missing = append(missing, "empty: "+strings.Join(empty, ", "))
	}
	if missing == nil {
		return nil
	}
	return errors.New("pid1: environment variables required but " + strings.Join(missing, "; "))
}
