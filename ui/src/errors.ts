// Errors of requests to the server.

/** The server rejected a request; `message` is the server's explanation. */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly status: number,
    /** name of the error's class on the server */
    readonly kind = '',
  ) {
    super(message)
  }
}

/** The server could not be reached. */
export class UnreachableError extends Error {}

export async function readError(response: Response): Promise<ServerError> {
  let detail = `The server answered ${response.status} ${response.statusText}.`
  let kind = ''
  try {
    const body = (await response.json()) as { detail?: unknown; kind?: string }
    if (typeof body.detail === 'string') detail = body.detail
    kind = body.kind ?? ''
  } catch {
    // not JSON, for example the error page of a proxy
  }
  return new ServerError(detail, response.status, kind)
}
