// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"fmt"
	"io"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/flags"
)

// defaultAdmin is -admin, if nothing is said.
const defaultAdmin = "127.0.0.1:8081"

const healthHelp = `edge healthcheck asks the edge of this host or container whether it is ready, for images
that have no shell and no curl:

  HEALTHCHECK CMD ["/edge", "healthcheck"]

It takes all flags of edge and their environment variables, of which it uses -admin: it asks
/readyz of that port. With -live it asks /healthz, which says that the process works: for
checks by which an edge is ended and started anew, as an edge that waits for its Redis is not
mended by that. -timeout (3s) is for all of it.

Exit code: 0 ready; 1 not ready, or no answer, with a line that says why; 2 a flag is wrong.
`

// healthcheck is the sub-command healthcheck. It returns the exit code.
func healthcheck(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	c := newConfig()
	c.flags.OnlyArgs("timeout", "live")
	timeout := c.flags.Duration("timeout", 3*time.Second, "how long an answer may take")
	live := c.flags.Bool("live", false, "ask /healthz instead of /readyz: whether the process works")
	switch err := c.read(args); {
	case flags.Asked(err):
		return tell(stdout, err, func(w io.Writer) { fmt.Fprint(w, healthHelp) })
	case err != nil:
		return misused(stderr, "edge healthcheck", c, c.flags.Conceal(err, args))
	}
	path := "/readyz"
	if *live {
		path = "/healthz"
	}
	code, err := app.Admin{Program: "edge", Addr: c.admin, Usual: defaultAdmin}.Check(ctx, path, *timeout, stdout, stderr)
	if err != nil {
		return misused(stderr, "edge healthcheck", c, err)
	}
	return code
}
