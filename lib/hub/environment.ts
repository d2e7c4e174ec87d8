import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { InvalidArgumentError, invalidArgument } from '../errors.js';

/*
 * Settings that the library shares with Python's huggingface_hub (its constants.py), read at the time of
 * use, so that a program may set them before a call.
 */

const DEFAULT_ENDPOINT = 'https://huggingface.co';

function variable(...names: string[]): string | undefined {
  for (const name of names) {
    const value = process.env[name];
    if (value !== undefined && value !== '') return value;
  }
  return undefined;
}

function isTrue(name: string): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((process.env[name] ?? '').toUpperCase());
}

/** Replaces a leading `~` by the user's home folder. */
export function expandHome(path: string): string {
  return path === '~' || /^~[\\/]/.test(path) ? join(homedir(), path.slice(1)) : path;
}

function hfHome(): string {
  const cache = variable('XDG_CACHE_HOME') ?? '~/.cache';
  return resolve(expandHome(variable('HF_HOME') ?? join(cache, 'huggingface')));
}

/** Folder of the cache: the argument, HF_HUB_CACHE, or `hub` in HF_HOME. */
export function cacheFolder(cache_dir: string | undefined): string {
  const path = cache_dir ?? variable('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE');
  return resolve(expandHome(path ?? join(hfHome(), 'hub')));
}

/** Address of the Hub, without a slash at the end: HF_ENDPOINT or the public one. */
export function endpoint(): string {
  const address = variable('HF_ENDPOINT') ?? DEFAULT_ENDPOINT;
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol)) {
    throw new InvalidArgumentError('HF_ENDPOINT is not the address of a server', {
      subject: 'HF_ENDPOINT',
      expected: 'an http or https URL',
      found: address,
    });
  }
  return address.replace(/\/+$/, '');
}

/** True where HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the network. */
export function isOffline(): boolean {
  return isTrue('HF_HUB_OFFLINE') || isTrue('TRANSFORMERS_OFFLINE');
}

function storedToken(): string | undefined {
  const fromEnvironment = variable('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN');
  if (fromEnvironment !== undefined) return fromEnvironment;
  try {
    return readFileSync(expandHome(variable('HF_TOKEN_PATH') ?? join(hfHome(), 'token')), 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * Access token for requests: the argument, else HF_TOKEN, else the file that `hf auth login` writes.
 * @param token `false` sends none; `true` demands one; a string is the token.
 * @throws InvalidArgumentError
 */
export function accessToken(token: string | boolean | null | undefined): string | undefined {
  if (token === false) return undefined;
  const implicit = typeof token !== 'string' && token !== true;
  if (implicit && isTrue('HF_HUB_DISABLE_IMPLICIT_TOKEN')) return undefined;
  const value = (typeof token === 'string' ? token : storedToken())?.trim();
  if (token === true && !value) {
    throw new InvalidArgumentError('token: true was given and no token is stored', {
      subject: 'token',
      remedy: 'Set HF_TOKEN, or run `hf auth login`.',
    });
  }
  if (!value) return undefined;
  // What may stand in a header; the value itself must not get into a message.
  if (!/^[\x21-\x7e]+$/.test(value)) {
    throw invalidArgument('token', 'an access token without spaces', null);
  }
  return value;
}
