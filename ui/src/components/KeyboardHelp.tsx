// The list of keyboard shortcuts.

import { KEY_HELP } from '../keyHelp'
import { Dialog } from './Dialog'

export function KeyboardHelp() {
  return (
    <Dialog title="Keyboard shortcuts" wide>
      <div class="keys">
        {KEY_HELP.map(({ title, rows }) => (
          <section key={title}>
            <h2>{title}</h2>
            <dl>
              {rows.map(([keys, effect]) => (
                <div key={keys}>
                  <dt>
                    {keys.split(' / ').map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </dt>
                  <dd>{effect}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  )
}
