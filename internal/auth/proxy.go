// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// errProxy stands for the error of a proxy's URL, which has its password in it.
var errProxy = errors.New("the URL of the proxy is not valid")

// proxy is that of the environment. Its errors do not repeat it.
func proxy(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if err != nil || u != nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "") {
		return nil, errProxy // With a / or a # as it is, a part of the password is the host.
	}
	return u, nil
}
