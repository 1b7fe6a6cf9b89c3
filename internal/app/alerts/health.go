// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"context"
	"fmt"
	"io"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/flags"
)

// defaultAdmin is -admin, if nothing is said.
const defaultAdmin = "127.0.0.1:8101"

const healthHelp = `alerts healthcheck asks the alerts of this host or container whether it is ready, for images that have
no shell and no curl:

  HEALTHCHECK CMD ["/alerts", "healthcheck"]

It takes all flags of alerts and their environment variables, of which it uses -admin: it asks /readyz of
that port. -timeout (3s) is for all of it.

Exit code: 0 ready; 1 not ready, or no answer, with a line that says why; 2 a flag is wrong.
`

// healthcheck is the command healthcheck. It returns the exit code.
func healthcheck(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	c := newConfig()
	c.flags.OnlyArgs("timeout")
	timeout := c.flags.Duration("timeout", 3*time.Second, "how long an answer may take")
	switch err := c.flags.Parse(args); {
	case flags.Asked(err):
		fmt.Fprint(stdout, healthHelp)
		return app.OK
	case err != nil:
		return misused(stderr, c, c.flags.Conceal(err, args))
	}
	code, err := app.Admin{Program: "alerts", Addr: c.admin, Usual: defaultAdmin}.Check(ctx, "/readyz", *timeout, stdout, stderr)
	if err != nil {
		return misused(stderr, c, err)
	}
	return code
}
