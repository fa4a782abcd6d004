// The form for the access token.

import { useState } from 'preact/hooks'
import { store } from '../state'
import { useStore } from '../store'
import { Toasts } from './Toasts'

export function SignIn({ onToken }: { onToken: (token: string) => void }) {
  const unsaved = useStore(store, (state) => state.unsaved)
  const isOpen = useStore(store, (state) => state.session !== null)
  const [token, setToken] = useState('')
  return (
    <form
      class="locked"
      onSubmit={(event) => {
        event.preventDefault()
        onToken(token.trim())
      }}
    >
      <h1>segscope</h1>
      <p>
        This server requires an access token. It is the last part of the address that the server
        printed when it started.
        {unsaved > 0 && ' Unsaved steps will be sent after you sign in.'}
      </p>
      <label>
        Token{' '}
        <input
          type="password"
          value={token}
          autocomplete="off"
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="button wide strong">
        Sign in
      </button>
      {!isOpen && <Toasts />}
    </form>
  )
}
